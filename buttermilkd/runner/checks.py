"""Why a flow cannot run on this host, found without running any of its code."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.environment import inherited

_OLDEST_PYTHON = (3, 9)
_VERSION_TIMEOUT = 10
_VERSION = re.compile(r"Python (\d+)\.(\d+)")


def check(flow: FlowSettings) -> str | None:
    """Why ``flow`` cannot run here; None where nothing speaks against it.

    It looks at files, and asks a callable's interpreter for its version: a few milliseconds, so call it
    off the event loop. It sees what the daemon sees; where jobs have a service of their own, that one's sandbox
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
        ran = subprocess.run(
            [flow.python, "-I", "-S", "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT,
            check=False,
            cwd=flow.directory,
            env=inherited(os.environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{flow.python} does not run: {error}"
    version = _VERSION.search(ran.stdout + ran.stderr)
    if version is None:
        return f"{flow.python} does not say which Python it is"
    if (int(version[1]), int(version[2])) < _OLDEST_PYTHON:
        return f"{flow.python} is {version[0]}; a worker needs Python 3.9 or later"
    return None


def _check_program(program: str, flow: FlowSettings) -> str | None:
    if "/" not in program:
        path = flow.env.get("PATH")
        return None if shutil.which(program, path=path) else f"command {program!r} was not found"
    file = flow.directory / Path(program)
    if not file.exists():
        return f"command {program} does not exist"
    if not file.is_file() or not os.access(file, os.X_OK):
        return f"command {program} is not executable"
    return None
