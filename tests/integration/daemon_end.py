"""The daemon's end of the activity socket, without the daemon: what reporters of this test tell."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from buttermilkd.bell import Bell
from buttermilkd.clock import SystemClock
from buttermilkd.host.sockets import listening
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.idle.policy.observations import Departure, Reporter


class DaemonEnd:
    """A server that listens."""

    def __init__(self, server: ActivityServer) -> None:
        self.server = server
        self.seen: list[Reporter] = []
        """Each state of each reporter that was told, in order."""
        self._changed = Bell()
        server.on_change = self._note

    def _note(self) -> None:
        self.seen.extend(self.reporters)
        self._changed.ring()

    @property
    def reporters(self) -> tuple[Reporter, ...]:
        return self.server.observe().reporters

    @property
    def departure(self) -> Departure | None:
        return self.server.observe().departure

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.reporters)

    @property
    def websockets(self) -> int:
        return sum(one.websockets for one in self.reporters)

    @property
    def total(self) -> int:
        return sum(one.total for one in self.reporters)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a line makes it true: one that is news rings, a mere beat does not."""
        async with asyncio.timeout(30):
            while not condition():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.heard(), 0.02)

    async def one(self) -> Reporter:
        """The only reporter, once it has reported."""
        await self.until(lambda: len(self.reporters) == 1 and self.reporters[0].reported)
        return self.reporters[0]

    async def quiet(self) -> None:
        await self.until(lambda: self.reporters and not self.requests and not self.websockets)


@asynccontextmanager
async def daemon_end(path: Path) -> AsyncIterator[DaemonEnd]:
    """Listens at this path for as long as it is entered; whoever is connected then is cut off."""
    with listening(path, 0o666) as listener:
        server = ActivityServer(listener, SystemClock())
        running = asyncio.ensure_future(server.run())
        try:
            yield DaemonEnd(server)
            assert not running.done()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    assert server.refusals == 0, "a reporter has broken the rules"
