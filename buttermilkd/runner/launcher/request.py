"""What the launcher is asked to start, and the descriptors that go with it."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """What to start."""

    arguments: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    """Beside the launcher's own."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Variables to be set to the content of files."""
    stdin: str = ""
    channel: socket.socket | None = None
    """Becomes descriptor 3."""

    def document(self, number: int) -> dict[str, object]:
        """What the launcher is told, beside the descriptors; ``number`` is that of the process."""
        return {
            "number": number,
            "arguments": self.arguments,
            "directory": self.directory,
            "environment": self.environment,
            "files": self.files,
            "stdin": self.stdin,
        }


def descriptors(channel: socket.socket | None) -> tuple[list[int], list[int]]:
    """Where to read standard output and standard error, and what becomes descriptors 1, 2 and perhaps 3.

    Raises:
        OSError: none are left; then none is open.
    """
    fds: list[int] = []
    try:
        for _ in range(2):
            fds += os.pipe2(os.O_CLOEXEC)
        if channel is not None:
            fds.append(os.dup(channel.fileno()))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    output, written_output, errors, written_errors, *third = fds
    return [output, errors], [written_output, written_errors, *third]
