"""The jobs that a worker has, in the order given, and what a worker is started with."""

import socket
from pathlib import Path

from buttermilkd.clock import Clock
from buttermilkd.runner.callables.calls import Call, Pace
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.request import Request
from buttermilkd.runner.slots import Slots

_PROGRAM = str(Path(__file__).parent / "worker.py")


class Handed:
    """A worker begins its jobs in the order given, so the first ``width`` of them have begun.

    Each job that it may be executing holds one of the host's slots.
    """

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self.width = 1
        """How many calls the worker executes at once; 1 until it has said that its callable is async."""
        self.executing = 0
        self.begun: dict[str, Call] = {}
        self.queued: dict[str, Call] = {}
        self.pace = Pace()
        self.suspended = False
        """All of them are to stand still, also those that the worker might begin meanwhile."""
        self._slots = slots
        self._clock = clock
        self._is_ready = False
        self._pid: int | None = None

    def __len__(self) -> int:
        return len(self.begun) + len(self.queued)

    def spare(self, taken: int = 0) -> int:
        """How many more may be queued, with ``taken`` more executing; none until half of the queue is free.

        Otherwise every answer would fetch one job, where one message could fetch many.
        """
        depth = self.pace.depth
        free = self.width + depth - len(self) - taken
        return free if free * 2 >= depth else 0

    def ids(self) -> list[str]:
        return [*self.begun, *self.queued]

    def find(self, job_id: str) -> Call | None:
        return self.begun.get(job_id) or self.queued.get(job_id)

    @property
    def is_ending_any(self) -> bool:
        """Whether any that has begun was told to stop."""
        return any(call.attempt.is_ending for call in self.begun.values())

    def all(self) -> list[Call]:
        return [*self.begun.values(), *self.queued.values()]

    def add(self, call: Call) -> None:
        """Queue a job, which may begin by that."""
        self.queued[call.attempt.job.job_id] = call
        if len(self.begun) < self.width:
            self.promote()

    def remove(self, job_id: str) -> Call:
        """Take out a job that has ended. The next in line is promoted by a call of its own.

        Raises:
            KeyError: the worker has no such job.
        """
        call = self.begun.pop(job_id, None) or self.queued.pop(job_id)
        self._account()
        return call

    def promote(self) -> None:
        """Take for begun what there is room for."""
        while self.queued and len(self.begun) < self.width:
            job_id, call = next(iter(self.queued.items()))
            self.begun[job_id] = call
            del self.queued[job_id]
            self._begin(call)
        self._account()

    def ready(self, width: int, pid: int | None) -> None:
        """The worker executes so many at once, from now on."""
        self._is_ready, self._pid = True, pid
        self.width = width
        for call in self.begun.values():
            self._begin(call)
        self.promote()

    def _begin(self, call: Call) -> None:
        if self._is_ready and call.attempt.started_at is None:
            call.begin(self._clock.now(), self._pid)

    def suspend(self) -> None:
        """Let the time of all of them stand still."""
        self.suspended = True
        for call in self.all():
            call.suspend(self._clock.monotonic())

    def resume(self) -> None:
        self.suspended = False
        for call in self.all():
            call.resume(self._clock.monotonic())

    def _account(self) -> None:
        executing = min(len(self), self.width)
        if executing != self.executing:
            self._slots.take(executing - self.executing)
            self.executing = executing


def worker_request(flow: FlowSettings, calls_at_once: int, channel: socket.socket) -> Request:
    """How a worker of this flow is started; it speaks over ``channel``."""
    limits = (str(calls_at_once), str(flow.output_limit), str(flow.result_limit))
    return Request(
        arguments=[flow.python, _PROGRAM, "3", flow.entrypoint or "", str(flow.directory), *limits],
        directory=str(flow.directory),
        environment=dict(flow.env),
        files={name: str(path) for name, path in flow.env_files.items()},
        channel=channel,
    )
