"""A worker as a process: its start, its socket, what it prints, its end. Of jobs it knows nothing."""

import socket
from collections.abc import Callable, Mapping
from typing import Any

from buttermilkd.runner.attempt import Allowance
from buttermilkd.runner.callables.handed import worker_request
from buttermilkd.runner.callables.lines import LineChannel
from buttermilkd.runner.callables.noise import Noise
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.process import Exit, Process
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.timers import Timers

START_PATIENCE = 60.0
"""Seconds that a worker may take to import its callable at least; a longer timeout of the flow counts."""
_LINE_SLACK = 1024 * 1024


class WorkerProcess:
    """Calls back with what happens to it.

    ``heard`` gets each message; ``misbehaved`` is called where it sends what is none, ``overdue`` where it does
    not become ready in time, and ``ended`` with its end.
    """

    def __init__(
        self,
        flow: FlowSettings,
        calls_at_once: int,
        timers: Timers,
        *,
        heard: Callable[[dict[str, Any]], None],
        misbehaved: Callable[[], None],
        overdue: Callable[[], None],
        ended: Callable[[Exit], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._flow = flow
        self._calls_at_once = calls_at_once
        self._timers = timers
        self._heard = heard
        self._misbehaved = misbehaved
        self._ended = ended
        self._fail = fail
        self.patience = max(flow.timeout or 0.0, START_PATIENCE)
        """Seconds of running time that it has to become ready."""
        self._start = Allowance(timers, self.patience, overdue)
        self._process: Process | None = None
        self._lines: LineChannel | None = None
        self._noise = Noise(flow.name)
        self._suspended = False

    def start(self, spawner: Spawner) -> None:
        """Raises OSError: nothing can be started."""
        flow = self._flow
        ours, theirs = socket.socketpair()
        limit = 2 * flow.result_limit + 6 * flow.output_limit + _LINE_SLACK
        self._lines = LineChannel(ours, limit, heard=self._heard, fail=self._fail, overlong=self._misbehaved)
        with theirs:
            try:
                self._process = spawner.spawn(
                    worker_request(flow, self._calls_at_once, theirs),
                    write=(self._noise.write, self._noise.write_error),
                    calm=_LINE_SLACK,
                    started=_nothing,
                    ended=self._process_ended,
                )
            except OSError:
                self._lines.close()
                raise
        self._start.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def killed(self) -> bool:
        """SIGKILL was sent."""
        return self._process is not None and self._process.killed

    @property
    def last_errors(self) -> str:
        """The end of what it wrote to standard error."""
        return self._noise.last_errors()

    def is_ready(self) -> None:
        """It has said so: its time to start is over."""
        self._start.cancel()

    def send(self, message: Mapping[str, Any]) -> None:
        if self._lines is not None:
            self._lines.send(message)

    def poll(self) -> None:
        """Take in what it has said until now."""
        if self._lines is not None:
            self._lines.read()

    def terminate(self, *, now: bool) -> None:
        """SIGTERM, grace, SIGKILL (``now``: SIGKILL)."""
        if self._process is not None:
            if now:
                self._process.kill()
            else:
                self._process.terminate(self._flow.grace)

    def retire(self) -> None:
        """Let it end by itself: it sees the end of its input."""
        if self._lines is not None:
            self._lines.close()
        if self._process is not None:
            self._timers.after(self._flow.grace, self._process.kill)

    def suspend(self) -> None:
        """Stop it where it is; its time to start stands still."""
        if self._process is not None and not self._suspended:
            self._suspended = True
            self._start.suspend()
            self._process.suspend()

    def resume(self, *, ready: bool) -> None:
        """Let it go on."""
        if self._process is not None and self._suspended:
            self._suspended = False
            self._start.resume(started=not ready)
            self._process.resume()

    def _process_ended(self, end: Exit) -> None:
        self.poll()
        if self._lines is not None:
            self._lines.close()
        self._start.cancel()
        self._ended(end)


def _nothing() -> None:
    """A worker's jobs begin when it says that it is ready, not when its process starts."""
