"""Starting one process: its program, its variables and secrets, its place when memory runs out."""

import os
import signal
import stat
from typing import Any

_JOB_OOM_SCORE = 500
_LONGEST_SECRET = 128 * 1024
"""Bytes; the kernel takes no longer variable. Source: execve(2), MAX_ARG_STRLEN."""


class OomScore:
    """Makes what is started in its context the first choice of the kernel when memory runs out."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._usual = os.read(self._fd, 16)
        self._raised = str(max(_JOB_OOM_SCORE, int(self._usual))).encode()

    def __enter__(self) -> None:
        os.pwrite(self._fd, self._raised, 0)

    def __exit__(self, *error: object) -> None:
        os.pwrite(self._fd, self._usual, 0)


def start(request: dict[str, Any], environment: dict[str, str], fds: list[int]) -> int:
    """Start the process that the daemon asks for, over ``environment``; its pid.

    Raises:
        OSError, ValueError: it cannot be started; ``reason`` says why.
    """
    environment |= request["environment"]
    for name, path in request["files"].items():
        environment[name] = _read_secret(name, path)
    arguments = request["arguments"]
    os.chdir(request["directory"])
    program = _find(arguments[0], environment.get("PATH", os.defpath))
    stdin = os.memfd_create("stdin")
    try:
        os.write(stdin, request["stdin"].encode("utf-8", "surrogatepass"))
        os.lseek(stdin, 0, os.SEEK_SET)
        # Descriptors 0 to 2 are taken here, so no source of a copy is the target of an earlier one.
        copies = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate([stdin, *fds])]
        return os.posix_spawn(
            program,
            arguments,
            environment,
            file_actions=copies,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        )
    finally:
        os.close(stdin)
        os.chdir("/")


def _read_secret(name: str, path: str) -> str:
    """A pipe nobody writes to is not waited for: nothing else starts meanwhile, and nothing is ended."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"cannot read {path} for {name}: it is no regular file")
            content = file.read(_LONGEST_SECRET + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path} for {name}: {error.strerror}") from error
    if len(content) > _LONGEST_SECRET:
        raise ValueError(f"cannot read {path} for {name}: it is longer than {_LONGEST_SECRET // 1024} KiB")
    return os.fsdecode(content.rstrip(b"\r\n"))


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _find(name: str, path: str) -> str:
    """Where the program of this name is; the flow's own PATH counts, not the launcher's."""
    if "/" in name:
        return name
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder or ".", name)  # noqa: PTH118
        if os.access(candidate, os.X_OK) and stat.S_ISREG(os.stat(candidate).st_mode):  # noqa: PTH116
            return candidate
    raise FileNotFoundError(2, "command not found", name)


def reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "cannot start: an argument or variable is not valid text"
    if isinstance(error, OSError):
        subject = f"{error.filename}: " if error.filename else ""
        return f"cannot start: {subject}{error.strerror}"
    return f"cannot start: {error}" if not str(error).startswith("cannot") else str(error)
