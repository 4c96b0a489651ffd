"""The daemon's end of the launcher: asks it for processes, hears how they end."""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.launched import Launched
from buttermilkd.runner.launcher.packets import PacketChannel
from buttermilkd.runner.launcher.process import Exit, Output, Process, describe_os_error
from buttermilkd.runner.launcher.request import Request, descriptors
from buttermilkd.runner.timers import Timers

logger = logging.getLogger(__name__)

_UNWATCHED_FOR = 0.005
"""Seconds; what ends within them is read once, at its end, which spares the loop six calls and two wake-ups."""

_ACKNOWLEDGED_WITHIN = 0.02
"""Seconds; that an end has been heard of travels with the next request to start something, if one comes by then."""
_MOST_UNACKNOWLEDGED = 16
"""... or at once where there are so many: the launcher reaps no orphans as long as any of its own waits for it."""

_STRAYS_AFTER = 0.01
"""Seconds; what is being stopped needs the CPU for a moment before the launcher does, which has the same priority."""


class Spawner:
    """Starts processes through the launcher and reports each one's start and end exactly once, on the loop.

    ``fail`` is told of what must never happen: an exception of a callback.
    """

    def __init__(
        self,
        *,
        timers: Timers,
        fail: Callable[[Exception], None],
        start: Callable[[], Launched],
    ) -> None:
        """``start`` starts a launcher when one is needed and none was attached. It may raise an OSError."""
        self._timers = timers
        self._fail = fail
        self._start = start
        self._launched: Launched | None = None
        self._leaving: list[Launched] = []
        """Told to end, and perhaps not gone yet."""
        self._channel: PacketChannel | None = None
        self._lost: Callable[[], None] = lambda: None
        self._asked_to_stop: Callable[[], None] = lambda: None
        self._numbers = 0
        self._processes: dict[int, Process] = {}
        self._unwatched: list[Process] = []
        self._reap: list[int] = []
        self._acknowledging = False
        self._strays: dict[int, bool] = {}

    @property
    def launcher_pid(self) -> int | None:
        return self._launched.pid if self._launched else None

    def next_number(self) -> int:
        """The number of the next process: unique as long as the daemon runs."""
        return self._numbers + 1

    def spawn(
        self,
        request: Request,
        *,
        write: tuple[Callable[[bytes], None], Callable[[bytes], None]],
        calm: int,
        started: Callable[[], None],
        ended: Callable[[Exit], None],
    ) -> Process:
        """Start a process; ``write`` gets its standard output and standard error as they are read.

        Raises:
            OSError: there is no launcher and none can be started, or no descriptors are left.
        """
        channel = self._channel or self.attach(self._start())
        self._numbers += 1
        reads = self._ask_for(request, channel)
        loop = asyncio.get_running_loop()
        outputs = tuple(Output(fd, each, calm=calm, loop=loop) for fd, each in zip(reads, write, strict=True))
        process = Process(
            self._numbers,
            outputs,
            started,
            ended,
            self._timers,
            group=self._group(self._numbers),
            hold_strays=self._hold_strays,
        )
        self._processes[process.number] = process  # the launcher's answer comes in a later turn of the loop
        if not self._unwatched:
            loop.call_later(_UNWATCHED_FOR, self._watch)
        self._unwatched.append(process)
        return process

    def _ask_for(self, request: Request, channel: PacketChannel) -> list[int]:
        """Where to read what the process prints. Raises OSError; then nothing has been asked for, and nothing is open."""
        reads, fds = descriptors(request.channel)
        try:
            channel.send({"reap": self._reap, "spawn": request.document(self._numbers)}, fds)
        except OSError:
            for fd in (*reads, *fds):
                os.close(fd)
            raise
        self._reap = []
        return reads

    def _watch(self) -> None:
        processes, self._unwatched = self._unwatched, []
        for process in processes:
            process.watch()

    def _hold_strays(self, number: int, stop: bool) -> None:
        """Have the launcher look for what has left the groups of these processes, once for all of one turn."""
        if not self._strays:
            asyncio.get_running_loop().call_later(_STRAYS_AFTER, self._send_strays)
        self._strays[number] = stop

    def _send_strays(self) -> None:
        strays, self._strays = self._strays, {}
        if self._channel is not None:
            stop = [number for number, stops in strays.items() if stops]
            go_on = [number for number, stops in strays.items() if not stops]
            self._channel.send({"reap": self._take_reap(), "stop": stop, "continue": go_on})

    def _group(self, number: int) -> Group | None:
        """That which the launcher makes for a process."""
        groups = self._launched.groups if self._launched else None
        return groups.child(str(number)) if groups else None

    def attach(
        self,
        launched: Launched,
        *,
        lost: Callable[[], None] = lambda: None,
        asked_to_stop: Callable[[], None] = lambda: None,
    ) -> PacketChannel:
        """Work with this launcher from now on; there must be no other.

        ``lost`` is called when it has died, before its processes are told to have ended, and ``asked_to_stop`` when it was told to end itself with its processes.
        """
        self._launched, self._lost, self._asked_to_stop = launched, lost, asked_to_stop
        self._channel = PacketChannel(
            launched.connected,
            heard=self._heard,
            lost=self._launcher_died,
            broken=launched.kill,
            fail=self._fail,
        )
        return self._channel

    def _take_reap(self) -> list[int]:
        pids, self._reap = self._reap, []
        return pids

    def poll(self) -> None:
        """Take in what the launcher has said until now."""
        if self._channel is not None:
            self._channel.poll()

    def _heard(self, said: Any) -> None:
        known = self._processes
        match said:
            case ["stopping", *_]:
                self._asked_to_stop()
            case ["started", int(number), int(pid), bool(grouped)] if number in known and pid > 1:
                known[number].on_started(pid, grouped=grouped)
            case ["failed", int(number), str(problem)] if number in known:
                known.pop(number).on_ended(Exit(problem=problem))
            case ["ended", int(number), int(status)] if number in known:
                self._process_ended(known.pop(number), status)
            case _:
                self._misunderstood()

    def _process_ended(self, process: Process, status: int) -> None:
        self._reap.append(process.pid or 0)
        if len(self._reap) >= _MOST_UNACKNOWLEDGED:
            self._let_reap()
        elif not self._acknowledging:
            self._acknowledging = True
            asyncio.get_running_loop().call_later(_ACKNOWLEDGED_WITHIN, self._acknowledge)
        process.on_ended(Exit(status=status))

    def _misunderstood(self) -> None:
        """What it says of processes cannot be relied on any more."""
        logger.error("the launcher of jobs says what it cannot mean, and is ended")
        if self._launched is not None:
            self._launched.kill()

    def _acknowledge(self) -> None:
        self._acknowledging = False
        self._let_reap()

    def _let_reap(self) -> None:
        if self._reap and self._channel is not None:
            self._channel.send({"reap": self._take_reap()})

    def _launcher_died(self) -> None:
        """End every process: nobody would hear of its end any more."""
        launched = self._disconnect()
        if launched is not None:
            launched.bury()
        self._lost()
        self._end_processes(Exit(problem="launcher died", interrupted=True))

    def _disconnect(self) -> Launched | None:
        """Let the launcher end, and whatever it still has."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._reap.clear()
        launched, self._launched = self._launched, None
        return launched

    def _end_processes(self, end: Exit) -> None:
        processes, self._processes = self._processes, {}
        for process in processes.values():
            process.on_ended(end)

    async def close(self) -> None:
        """Kill every process and wait until the launcher has seen the last one die and has ended.

        Cancelled while it waits, it leaves the rest to the launcher, which needs nobody for it, and tells of no end:
        somebody else could begin what still runs. Called again, it goes on waiting.
        """
        for process in self._processes.values():
            process.kill()
        if (launched := self._disconnect()) is not None:
            self._leaving.append(launched)
        while self._leaving:
            await self._leaving[0].ended()
            del self._leaving[0]
        self._end_processes(Exit(problem="the daemon stopped"))


def spawn_problem(error: OSError) -> str:
    """Why nothing could be started here."""
    return f"cannot start a process: {describe_os_error(error)}"
