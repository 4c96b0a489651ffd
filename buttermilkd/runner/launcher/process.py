"""One process that the launcher started, as the daemon sees it: signals, output, end."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.processes import signal_group
from buttermilkd.runner.timers import Timer, Timers

_CHUNK = 64 * 1024
_FLOOD_PIPE = 1024 * 1024
_FLOOD_PAUSE = 0.02
"""Seconds between two reads of a process that has printed more than is kept: it waits, the daemon does not work."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    status: int | None = None
    """Exit status, or the negative number of the signal that ended it; None where it never ran or is unknown."""
    problem: str | None = None
    """Why it could not be started, or why nothing is known of its end."""
    interrupted: bool = False
    """It ended with the launcher."""

    @property
    def words(self) -> str:
        if self.status is None:
            return self.problem or "never ran"
        if self.status < 0:
            return f"killed by {signal_name(-self.status)}"
        return f"exit status {self.status}"


def signal_name(number: int) -> str:
    """``SIGSEGV`` and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Output:
    """Reads one pipe of a process without ever waiting for it, and slows a flood down.

    ``write`` gets what was read; beyond ``calm`` bytes it is read in turns with pauses.
    """

    def __init__(
        self, fd: int, write: Callable[[bytes], None], *, calm: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._fd = fd
        self._write = write
        self._calm = calm
        self._loop = loop
        self._watched = False
        self._pause: asyncio.TimerHandle | None = None
        os.set_blocking(fd, False)

    def watch(self) -> None:
        """Read what comes from now on; until then it stays in the pipe."""
        if self._fd >= 0 and not self._watched:
            self._watched = True
            self._loop.add_reader(self._fd, self._readable)

    def read(self) -> None:
        """Take in what is there now."""
        if self._fd >= 0:
            self._read(_CHUNK)

    def _read(self, size: int) -> int | None:
        """How much was read, 0 at the end; None where nothing is there now."""
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return None
        if data:
            self._calm -= len(data)
            self._write(data)
        return len(data)

    def _readable(self) -> None:
        if self._read(_CHUNK) == 0:
            self.close()
        elif self._calm < 0:
            with contextlib.suppress(OSError):  # the kernel may refuse a larger pipe
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _FLOOD_PIPE)
            self._loop.remove_reader(self._fd)
            self._watched = False
            self._pause = self._loop.call_later(_FLOOD_PAUSE, self._after_pause)

    def _after_pause(self) -> None:
        if self._read(_FLOOD_PIPE) == 0:
            self.close()
        else:
            self._pause = self._loop.call_later(_FLOOD_PAUSE, self._after_pause)

    def finish(self) -> None:
        """Read what is in the pipe, at most as much as a pipe holds, and close it without waiting for its end."""
        left = _FLOOD_PIPE
        while self._fd >= 0 and left > 0 and (read := self._read(_CHUNK)):
            left -= read
        self.close()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if self._fd >= 0:
            if self._watched:
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class Process:
    """A job's processes, from the request to start the first to its end: a control group, or else a process group."""

    def __init__(
        self,
        number: int,
        outputs: tuple[Output, ...],
        started: Callable[[], None],
        ended: Callable[[Exit], None],
        timers: Timers,
        *,
        group: Group | None,
        hold_strays: Callable[[int, bool], None],
    ) -> None:
        """``hold_strays`` stops what has left the process group, or lets it go on: without a control group."""
        self.number = number
        self.pid: int | None = None
        self.killed = False
        """SIGKILL was sent."""
        self._outputs = outputs
        self._started = started
        self._ended: Callable[[Exit], None] | None = ended
        self._timers = timers
        self._group = group
        self._hold_strays = hold_strays
        self._waiting_signals: list[int] = []
        self._suspended = False
        self._grace: Timer | None = None

    def watch(self) -> None:
        """Read its output as it comes."""
        for output in self._outputs:
            output.watch()

    def read(self) -> None:
        """Take in what it has printed until now."""
        for output in self._outputs:
            output.read()

    def on_started(self, pid: int, *, grouped: bool) -> None:
        self.pid = pid
        if not grouped:
            self._group = None
        for number in self._waiting_signals:
            self.signal(number)
        self._waiting_signals.clear()
        if self._suspended:
            self._hold(stop=True)
        self._started()

    def on_ended(self, end: Exit) -> None:
        """Called by the spawner; nothing is signalled after this, as the pid may soon be another's."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if self._grace is not None:
            self._grace.cancel()
        for output in self._outputs:
            output.finish()
        ended(end)

    def signal(self, number: int) -> None:
        """Signal the whole group, at once or as soon as it exists; nothing where it has ended."""
        if self._ended is None:
            return
        if self.pid is None:
            self._waiting_signals.append(number)
        else:
            signal_group(self.pid, number)

    def suspend(self) -> None:
        """Stop it where it is, at once or as soon as it exists."""
        if not self._suspended:
            self._suspended = True
            self._hold(stop=True)

    def resume(self) -> None:
        """Let it go on."""
        if self._suspended:
            self._suspended = False
            self._hold(stop=False)

    def _hold(self, *, stop: bool) -> None:
        if self._ended is None or self.pid is None:
            return
        if self._group is not None:
            try:
                self._group.write("cgroup.freeze", "1" if stop else "0")
            except OSError:  # whoever took the group away, its processes are still there
                self._group = None
            else:
                return
        self.signal(signal.SIGSTOP if stop else signal.SIGCONT)
        self._hold_strays(self.number, stop)

    def terminate(self, grace: float) -> None:
        """SIGTERM, also to a suspended process, and after ``grace`` seconds SIGKILL."""
        self.signal(signal.SIGTERM)
        self.resume()
        if self._grace is None and self._ended is not None:
            self._grace = self._timers.after(grace, self.kill)

    def kill(self) -> None:
        """SIGKILL, now."""
        if self._ended is not None:
            self.killed = True
            self.signal(signal.SIGKILL)


def describe_os_error(error: OSError) -> str:
    """The operating system's words for what went wrong."""
    return error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")
