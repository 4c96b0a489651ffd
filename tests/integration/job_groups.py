"""A control group of the tests' own for the jobs of a runner, where the kernel lets this user make one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

from buttermilkd.cgroups import Group, Hierarchy
from tests.parts import need

_NUMBERS = count(1)
_PATIENCE = 10.0


@contextmanager
def job_group() -> Iterator[Group]:
    """Made for one test, with whatever is in it killed and removed afterwards."""
    hierarchy = Hierarchy.find()
    need(
        hierarchy is not None and os.access(hierarchy.mount / "cgroup.procs", os.W_OK),
        "a unified hierarchy of control groups that may be written",
    )
    assert hierarchy is not None
    group = hierarchy.group(f"/buttermilkd-test-{os.getpid()}-{next(_NUMBERS)}")
    group.folder.mkdir()
    try:
        yield group
    finally:
        group.write("cgroup.kill", "1")
        deadline = time.monotonic() + _PATIENCE  # noqa: TID251 - the tests' own patience
        while group.folder.exists() and time.monotonic() < deadline:  # noqa: TID251
            for folder in (*(one for one in group.folder.iterdir() if one.is_dir()), group.folder):
                with suppress(OSError):
                    folder.rmdir()
