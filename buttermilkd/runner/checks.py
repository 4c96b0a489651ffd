"""Why a flow cannot run on this host, found without running any of its code."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path

from buttermilkd.clock import Clock
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.environment import inherited

FIT_FOR = 1.0
"""Seconds for which a flow that could run is taken for one that can."""
_OLDEST_PYTHON = (3, 9)
_VERSION_TIMEOUT = 10
_VERSION = re.compile(r"Python (\d+)\.(\d+)")


def check(flow: FlowSettings) -> str | None:
    """Why ``flow`` cannot run here; None where nothing speaks against it.

    It looks at files, and asks a callable's interpreter for its version when it first sees it: a few milliseconds,
    so call it off the event loop. It sees what the daemon sees; where jobs have a service of their own, that one's sandbox
    may show them more, or less.
    """
    if not flow.directory.is_dir():
        return f"its directory {flow.directory} does not exist"
    for name, path in flow.env_files.items():
        if not os.access(path, os.R_OK):
            return f"the file {path} for {name} cannot be read"
        if not path.is_file():
            return f"the file {path} for {name} is no regular file"
    if flow.kind == "callable":
        return _check_callable(flow)
    return _check_command(flow)


async def checked(flow: FlowSettings) -> str | None:
    """``check`` off the loop."""
    return await asyncio.to_thread(check, flow)


def by_name(
    flows: Mapping[str, FlowSettings], problem: Callable[[FlowSettings], Awaitable[str | None]]
) -> Callable[[str], Awaitable[str | None]]:
    """Have a flow of ``flows``, as they are at that moment, checked by its name."""

    async def of(name: str) -> str | None:
        flow = flows.get(name)
        return "it is not configured any more" if flow is None else await problem(flow)

    return of


class RecentChecks:
    """``check`` off the loop. That a flow can run is believed for a second: many batches of one job are created in that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._fit: dict[str, tuple[FlowSettings, float]] = {}

    async def problem(self, flow: FlowSettings) -> str | None:
        """See ``check``."""
        known = self._fit.get(flow.name)
        if known is not None and known[0] is flow and self._clock.monotonic() - known[1] < FIT_FOR:
            return None
        at = self._clock.monotonic()
        problem = await checked(flow)
        if problem is None:
            self._fit[flow.name] = flow, at
        return problem


def _check_command(flow: FlowSettings) -> str | None:
    program = flow.command[0] if flow.command else ""
    if "{" in program:
        return None  # known only with a job
    return _check_program(program, flow)


def _check_callable(flow: FlowSettings) -> str | None:
    module, _, name = (flow.entrypoint or "").partition(":")
    if not module or not name:
        return f"its entrypoint {flow.entrypoint!r} is not of the form package.module:function"
    if problem := _check_program(flow.python, flow):
        return problem
    try:
        _ask_version(flow.python, flow.directory, _identity(flow.python, flow))
    except _UnfitError as error:
        return str(error)
    except OSError as error:  # it has gone since it was looked for
        return f"{flow.python} does not run: {error}"
    return None


class _UnfitError(Exception):
    """Why an interpreter cannot run a worker."""


def _identity(program: str, flow: FlowSettings) -> tuple[int, ...]:
    """What changes where another program takes this one's place."""
    found = (_file(program, flow) or Path(program)).stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)
def _ask_version(python: str, directory: Path, identity: tuple[int, ...]) -> None:  # noqa: ARG001 - a part of the key
    """Have an interpreter say that it is recent enough, which takes a process: so once for each that is.

    Raises:
        _UnfitError: it is not, or does not run. This is asked again.
    """
    try:
        ran = subprocess.run(
            [python, "-I", "-S", "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT,
            check=False,
            cwd=directory,
            env=inherited(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _UnfitError(f"{python} does not run: {error}") from error
    version = _VERSION.search(ran.stdout + ran.stderr)
    if version is None:
        raise _UnfitError(f"{python} does not say which Python it is")
    if (int(version[1]), int(version[2])) < _OLDEST_PYTHON:
        raise _UnfitError(f"{python} is {version[0]}; a worker needs Python 3.9 or later")


def _check_program(program: str, flow: FlowSettings) -> str | None:
    file = _file(program, flow)
    if file is None:
        return f"command {program!r} was not found"
    if not file.exists():
        return f"command {program} does not exist"
    if not file.is_file() or not os.access(file, os.X_OK):
        return f"command {program} is not executable"
    return None


def _file(program: str, flow: FlowSettings) -> Path | None:
    """Where a program is, there or not; None where its name alone is given and leads to none."""
    if "/" in program:
        return flow.directory / program
    found = shutil.which(program, path=flow.env.get("PATH"))
    return None if found is None else Path(found)
