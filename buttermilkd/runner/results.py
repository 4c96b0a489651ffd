"""What a command leaves as its result: a JSON document in a file, or its last line of standard output."""

import json
import os
import stat
from typing import NoReturn

from buttermilkd.runner.scratch import removed


class UnusableResultError(Exception):
    """There is a result, and it cannot be taken; the message says why."""


def read_result(path: str, limit: int) -> str | None:
    """The JSON text in the file that a job wrote; None where it wrote none. The file is removed.

    Whatever the job may have put there instead of a file is neither followed nor waited for.

    Raises:
        UnusableResultError: it is not a file, too long, or not JSON.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        remove_result(path)
        raise UnusableResultError(f"cannot read the result file: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UnusableResultError("the result file is not a regular file")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(fd)
        remove_result(path)
    if len(data) > limit:
        raise UnusableResultError(f"the result is over {limit:,} bytes")
    if not data.strip():
        return None
    try:
        return json_text(data)
    except ValueError as error:
        raise UnusableResultError(f"the result file does not hold JSON: {error}") from error


def remove_result(path: str) -> None:
    """Remove the result file, or whatever is in its place, as far as that is possible."""
    removed(path)


def json_text(data: bytes) -> str:
    """``data`` as text, where it is one JSON document.

    Raises:
        ValueError: it is not.
    """
    text = data.decode().strip()
    try:
        json.loads(text, parse_constant=_no_such_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return text


def _no_such_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
