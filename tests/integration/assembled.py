"""The daemon's rooms put together as it does, in the test's own loop; nothing of them runs by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from buttermilkd.clock import SystemClock
from buttermilkd.config.load import load
from buttermilkd.control.services import Services
from buttermilkd.daemon import assembly
from buttermilkd.daemon.foundations import Given
from buttermilkd.testing import RecordingNotifier


@asynccontextmanager
async def opened(config: Path, notifier: RecordingNotifier | None = None) -> AsyncIterator[Services]:
    """What answers on the control socket, by this configuration."""
    clock = SystemClock()
    given = Given(
        read=lambda queue: load(config, {}, queue=queue), notifier=notifier or RecordingNotifier(clock)
    )
    async with assembly.opened(load(config, {}), clock, given) as daemon:
        yield daemon.services
