"""The kernel's own word that pressure has gone over a threshold, from the real kernel."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from buttermilkd.cgroups import Hierarchy
from buttermilkd.idle.load.pressure import SYSTEM
from buttermilkd.idle.load.triggers import Threshold, Triggers
from tests.parts import need

CPU = SYSTEM / "cpu"
LITTLE = 0.002
"""20 ms of waiting within ten seconds, which burners beyond the number of CPUs reach at once."""


@asynccontextmanager
async def burners() -> AsyncIterator[None]:
    """More processes that want a CPU than there are."""
    async with AsyncExitStack() as stack:
        for _ in range(2 * (os.cpu_count() or 1)):
            burner = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
            stack.push_async_callback(burner.wait)
            stack.callback(burner.kill)
        yield


async def test_the_kernel_calls_when_something_has_waited_for_too_long() -> None:
    need(os.access(CPU, os.W_OK), "pressure stall information that grants triggers")
    crossed = asyncio.Event()
    triggers = Triggers(crossed.set)
    try:
        triggers.watch([Threshold(CPU, "some", LITTLE)])
        assert triggers.granted == {CPU: True}
        async with burners(), asyncio.timeout(30):
            await crossed.wait()
    finally:
        triggers.close()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_what_is_not_granted_is_no_error(tmp_path: Path) -> None:
    triggers = Triggers(lambda: None)
    plain = tmp_path / "plain"
    plain.touch()
    plain.chmod(0o444)
    triggers.watch([Threshold(tmp_path / "missing", "some", 0.1), Threshold(plain, "some", 0.1)])
    assert set(triggers.granted.values()) == {False}
    triggers.close()


async def test_what_is_no_longer_wanted_is_watched_no_longer() -> None:
    need(os.access(CPU, os.W_OK), "pressure stall information that grants triggers")
    triggers = Triggers(lambda: None)
    before = open_descriptors()
    triggers.watch([Threshold(CPU, "some", 0.1), Threshold(SYSTEM / "io", "some", 0.1)])
    triggers.watch([Threshold(SYSTEM / "io", "some", 0.1)])
    assert triggers.granted == {SYSTEM / "io": True}
    triggers.close()
    assert open_descriptors() == before


async def test_a_group_that_goes_away_takes_its_trigger_with_it(tmp_path: Path) -> None:
    hierarchy = Hierarchy.find()
    need(
        hierarchy is not None and os.access(hierarchy.mount, os.W_OK),
        "a unified hierarchy that may be written",
    )
    assert hierarchy is not None
    group = hierarchy.group(f"/{tmp_path.name}-{os.getpid()}")
    group.folder.mkdir()
    gone = asyncio.Event()
    triggers = Triggers(gone.set)
    file = group.folder / "cpu.pressure"
    try:
        triggers.watch([Threshold(file, "some", 0.1)])
        assert triggers.granted == {file: True}
        group.folder.rmdir()
        async with asyncio.timeout(10):
            await gone.wait()
        assert triggers.granted == {file: False}
    finally:
        triggers.close()
