"""No descriptor is left for what a job needs: that costs the job its attempt, and nothing and nobody else."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from buttermilkd.jobs import Ending
from tests.integration.runner_host import hosting, shell

LONG = {"text": "x" * 100_000}
"""More than fits into a packet to the launcher, so that a descriptor is needed for it."""


def open_descriptors() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/fd").iterdir()}


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY)]
    try:
        full = max(open_descriptors()) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (full, hard))
        with suppress(OSError):
            while True:
                held.append(os.dup(held[0]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (full + count, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


@pytest.mark.parametrize("left", [0, 3, 4, 5], ids="{} left".format)
async def test_a_shortage_of_descriptors_fails_the_attempt_once_and_leaves_nothing_open(
    tmp_path: Path, left: int
) -> None:
    async with hosting(tmp_path, shell("cat")) as host:
        await host.run()
        before = len(open_descriptors())
        with descriptors_left(left):
            outcome = await host.run(parameters=LONG)
        after = len(open_descriptors())
        assert (await host.run()).ending is Ending.COMPLETED
    if left < 5:
        assert outcome.error == "cannot start a process: Too many open files"
    else:
        assert outcome.ending is Ending.COMPLETED
    assert after == before
