"""The jobs that a worker has, in the order given, and what a worker is started with."""

import socket
from pathlib import Path

from buttermilkd.runner.callables.calls import Call, Pace
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.spawner import Request
from buttermilkd.runner.slots import Slots

_PROGRAM = str(Path(__file__).parent / "worker.py")


class Handed:
    """A worker begins its jobs in the order given, so the first ``width`` of them have begun.

    Each job that it may be executing holds one of the host's slots.
    """

    def __init__(self, slots: Slots) -> None:
        self.width = 1
        """How many calls the worker executes at once; 1 until it has said that its callable is async."""
        self.executing = 0
        self.begun: dict[str, Call] = {}
        self.queued: dict[str, Call] = {}
        self.pace = Pace()
        self._slots = slots

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

    def add(self, call: Call) -> list[Call]:
        """Queue a job; returns what has begun by that."""
        self.queued[call.attempt.job.job_id] = call
        return self.promote()

    def remove(self, job_id: str) -> Call:
        """Take out a job that has ended. The next in line is promoted by a call of its own.

        Raises:
            KeyError: the worker has no such job.
        """
        call = self.begun.pop(job_id, None) or self.queued.pop(job_id)
        self._account()
        return call

    def promote(self) -> list[Call]:
        """What has begun since there was room for it."""
        promoted = []
        while self.queued and len(self.begun) < self.width:
            job_id = next(iter(self.queued))
            self.begun[job_id] = self.queued.pop(job_id)
            promoted.append(self.begun[job_id])
        self._account()
        return promoted

    def widen(self, width: int) -> None:
        """The worker executes so many at once."""
        self.width = width
        self.promote()

    def _account(self) -> None:
        executing = min(len(self), self.width)
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
