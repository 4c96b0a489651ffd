"""What a launcher has left that was killed together with its daemon: nobody else ends that where there is no systemd.

A launcher's mark is in the environment of all that it starts. It is written down beside the ledger before the launcher
starts, so that the next daemon finds what still lives before it begins anything again.
"""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from buttermilkd.plurals import count
from buttermilkd.runner.launcher.processes import all_pids, kill_marked, mark_of

logger = logging.getLogger(__name__)

FILE = "launcher"
PATIENCE = 10.0
"""Seconds in which killed processes must be gone; one that hangs in the kernel is left to it."""
_LOOK_EVERY = 0.005


def note(file: Path, mark: str) -> None:
    """Remember this launcher's mark. A disk that is full keeps no job from running: it is remembered less then."""
    new = file.with_suffix(".new")
    try:
        new.write_text(mark)
        new.replace(file)
    except OSError as error:
        logger.warning("cannot write %s: %s; what a crash leaves may not be found", file, error.strerror)
        with suppress(OSError):
            new.unlink(missing_ok=True)


def end_leftovers(file: Path) -> None:
    """Kill what a launcher has left of which nobody holds the lock any more, and return when it is gone.

    It waits up to ``PATIENCE`` seconds, so call it off the event loop.
    """
    try:
        mark = file.read_text().strip()
    except (OSError, ValueError):
        return
    if not mark or not (found := kill_marked(f"{mark}.")):
        return
    logger.warning(
        "ended %s: their launcher was killed together with the last daemon",
        count(found, "process of a job", "processes of jobs"),
    )
    deadline = time.monotonic() + PATIENCE  # noqa: TID251 - no Clock in a thread
    while _are_left(mark) and time.monotonic() < deadline:  # noqa: TID251
        time.sleep(_LOOK_EVERY)


def _are_left(mark: str) -> bool:
    return any((mark_of(pid) or "").startswith(f"{mark}.") for pid in all_pids() if pid != os.getpid())
