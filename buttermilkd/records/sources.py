"""The places that record ids come from: ids given, files, globs, commands, and a flow's own source."""

import os
import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from glob import has_magic, iglob
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from buttermilkd.errors import InvalidRequestError, MisconfiguredError
from buttermilkd.records.text import checked, read

if TYPE_CHECKING:
    from asyncio.subprocess import Process

COMMAND_TIME_LIMIT = 300.0
"""Seconds that a flow's ``records_command`` may take."""

_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_TAIL = 4096


class FlowSource(Protocol):
    """What this module needs of a flow's settings."""

    @property
    def records(self) -> str | Sequence[str] | None: ...
    @property
    def records_command(self) -> Sequence[str] | None: ...
    @property
    def records_field(self) -> str | None: ...
    @property
    def directory(self) -> Path | None: ...
    @property
    def env(self) -> Mapping[str, str]: ...


def given(ids: Iterable[str], *, source: str = "the records given") -> Iterator[str]:
    """Record ids as they stand.

    Raises:
        InvalidRequestError: there are none, or one cannot be a record id.
    """
    numbered = ((f"{source}, record {number}", record) for number, record in enumerate(ids, 1))
    return checked(numbered, source)


def from_path(
    path: str, *, directory: Path | None = None, file_format: str | None = None, field: str | None = None
) -> Iterator[str]:
    """Record ids from a file that lists them, or the paths that match a glob, sorted.

    Args:
        path: a file, whose suffix tells its format (``.csv``, ``.jsonl``, anything else: lines), or a glob
            with ``*``, ``?``, ``[`` or ``**``.
        directory: what a relative ``path`` is relative to. An id that a relative glob matched is relative too.
        file_format: one of ``FORMATS``, whatever the suffix says.
        field: as for ``read``.

    Raises:
        InvalidRequestError: nothing matches, or the file cannot be read, is empty or is malformed.
    """
    file = Path(directory or "", path)
    try:
        if has_magic(path) and not file.exists():
            yield from checked(_matches(path, directory), path)
            return
        with file.open("rb") as stream:
            chosen = file_format or _SUFFIXES.get(file.suffix.lower())
            yield from read(stream, source=str(file), file_format=chosen, field=field)
    except IsADirectoryError:
        raise InvalidRequestError(
            f"cannot read records from {file}: it is a directory",
            hint=f'to make a record of each file in it, write "{path.rstrip("/")}/*"',
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequestError(
            f"cannot read records from {file}: {why}",
            hint="check the path and that this user may read it",
        ) from error


async def from_command(
    command: Sequence[str],
    *,
    directory: Path | None = None,
    env: Mapping[str, str] | None = None,
    inherited: Mapping[str, str] | None = None,
    field: str | None = None,
    time_limit: float = COMMAND_TIME_LIMIT,
) -> list[str]:
    """Record ids that a command prints, one a line, or with ``field`` as JSON lines.

    It runs in a process group of its own, without a shell, and the whole group is killed when it takes longer
    than ``time_limit`` seconds or the caller is cancelled. It sees ``env`` over what it inherits: without
    ``inherited`` all of this process's environment.

    Raises:
        InvalidRequestError: it cannot be started, fails, takes too long, or prints no or malformed records.
    """
    import asyncio  # noqa: PLC0415 - buttermilkctl imports this module and must start without asyncio

    name = " ".join(command)
    # Files instead of pipes: nothing to drain, and a grandchild that keeps one open holds nothing up.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as messages:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=messages,
                cwd=directory,
                env={**(os.environ if inherited is None else inherited), **(env or {})},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise InvalidRequestError(f"cannot run {name!r} for records: {error}") from error
        status = await _ended(process, name, time_limit)
        if status != 0:
            why = f"exit status {status}" if status > 0 else f"signal {-status}"
            raise InvalidRequestError(f"cannot get records from {name!r}: {why}{_last_line(messages)}")
        output.seek(0)
        chosen = "jsonl" if field else "lines"
        source = f"the output of {name!r}"
        return await asyncio.to_thread(list, read(output, source=source, file_format=chosen, field=field))


async def _ended(process: "Process", name: str, time_limit: float) -> int:
    """The exit status of a process, which is killed with its group where it is not waited for to its end."""
    import asyncio  # noqa: PLC0415 - as above

    try:
        async with asyncio.timeout(time_limit):
            return await process.wait()
    except TimeoutError:
        raise InvalidRequestError(
            f"cannot get records from {name!r}: it ran for over {time_limit:g} s"
        ) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def from_flow(flow: FlowSource, inherited: Mapping[str, str] | None = None) -> list[str]:
    """Record ids from a flow's own source: ``records_command``, or ``records`` as a list, file or glob.

    ``inherited`` is as for ``from_command``. Files are read in a thread, so that the event loop goes on.

    Raises:
        MisconfiguredError: the flow has no source, or it is empty, malformed or cannot be read.
    """
    import asyncio  # noqa: PLC0415 - as above

    if flow.records is None and not flow.records_command:
        raise MisconfiguredError(
            "cannot find records: none were given, and the flow has no source of its own",
            hint="give ids or a file of them, or set records or records_command for the flow",
        )
    try:
        if flow.records_command:
            return await from_command(
                flow.records_command,
                directory=flow.directory,
                env=flow.env,
                inherited=inherited,
                field=flow.records_field,
            )
        if isinstance(flow.records, str):
            source = from_path(flow.records, directory=flow.directory, field=flow.records_field)
        else:
            source = given(flow.records or (), source="the flow's records")
        return await asyncio.to_thread(list, source)
    except InvalidRequestError as error:
        raise MisconfiguredError(str(error), hint=error.hint) from error


def _matches(pattern: str, directory: Path | None) -> Iterator[tuple[str, str]]:
    """The files that match, sorted, or for a pattern that ends in ``/`` the directories."""
    root = Path(directory or "")
    for path in sorted(iglob(pattern, root_dir=root, recursive=True)):  # noqa: PTH207 - Path.glob rewrites what matched
        if pattern.endswith("/") or not (root / path).is_dir():
            yield repr(path), path


def _last_line(messages: IO[bytes]) -> str:
    """``: `` and the last line of what a command wrote to standard error; empty where it wrote nothing."""
    messages.seek(max(0, messages.seek(0, os.SEEK_END) - _TAIL))
    lines = messages.read().decode(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""
