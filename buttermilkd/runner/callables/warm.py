"""The daemon's side of one warm worker: which jobs it has, which of them it has begun, and what became of them."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Outcome
from buttermilkd.runner.arguments import document
from buttermilkd.runner.attempt import Attempt
from buttermilkd.runner.callables.calls import Call, answered, died
from buttermilkd.runner.callables.handed import Handed, worker_request
from buttermilkd.runner.callables.lines import LineChannel
from buttermilkd.runner.callables.noise import Noise
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.process import Exit, Process
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.slots import Slots
from buttermilkd.runner.timers import Timer, Timers

logger = logging.getLogger(__name__)

START_PATIENCE = 60.0
"""Seconds that a worker may take to import its callable at least; a longer timeout of the flow counts."""
_RECALL_PATIENCE = 0.02
"""Seconds that a suspension waits for a worker to drop what was recalled."""
_LINE_SLACK = 1024 * 1024


class WarmWorker:
    """One worker process. ``ended`` is told of every job it was given; ``gone`` when the process has ended."""

    def __init__(
        self,
        flow: FlowSettings,
        *,
        slots: Slots,
        timers: Timers,
        clock: Clock,
        ended: Callable[[Attempt, Outcome], None],
        changed: Callable[["WarmWorker"], None],
        gone: Callable[["WarmWorker"], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self.flow = flow
        self.handed = Handed(slots)
        self.ready = False
        self.closing = False
        """It gets no more jobs."""
        self.broken = False
        """It ended before it could take a job."""
        self.suspended = False
        self._timers = timers
        self._clock = clock
        self._ended = ended
        self._changed = changed
        self._gone = gone
        self._fail = fail
        self._is_async = False
        self._calls_at_once = min(flow.concurrency or 1, slots.total)
        self._process: Process | None = None
        self._lines: LineChannel | None = None
        self._unsent: list[Mapping[str, Any]] = []
        self._recalls = 0
        self._starting: Timer | None = None
        self._patience = START_PATIENCE
        self._stopping: Timer | None = None
        self._noise = Noise(flow.name)

    # Starting

    def start(self, spawner: Spawner) -> None:
        """Start the process.

        Raises:
            OSError: nothing can be started.
        """
        flow = self.flow
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
        self._patience = max(flow.timeout or 0.0, START_PATIENCE)
        self._starting = self._timers.after(self._patience, self._start_overdue)

    # Jobs

    @property
    def accepts(self) -> bool:
        return not (self.closing or self.suspended)

    def give(self, attempt: Attempt) -> None:
        """Hand a job over; all of one turn of the loop travel together."""
        call = Call(attempt, self._timers, self.flow.timeout, self._time_is_up)
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send_jobs)
        self._unsent.append(document(attempt.job))
        for begun in self.handed.add(call):
            self._stamp(begun)

    def _send_jobs(self) -> None:
        jobs, self._unsent = self._unsent, []
        if jobs:
            self._send({"jobs": jobs})

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._lines is not None:
            self._lines.send(message)

    def _stamp(self, call: Call) -> None:
        """Its time runs from here, once the worker is ready."""
        if self.ready and self._process is not None and call.attempt.started_at is None:
            call.attempt.started_at = self._clock.now()
            call.attempt.pid = self._process.pid
            call.allowance.start()

    def _end(self, job_id: str, outcome: Outcome) -> None:
        call = self.handed.remove(job_id)
        call.allowance.cancel()
        if not self.closing:
            for begun in self.handed.promote():
                self._stamp(begun)
        self._ended(call.attempt, outcome)

    def _heard(self, message: dict[str, Any]) -> None:
        try:
            self._understand(message)
        except (TypeError, KeyError, AttributeError, ValueError):
            logger.exception("a worker of flow %s sent what is no answer", self.flow.name)
            self._misbehaved()
        self._changed(self)

    def _understand(self, message: dict[str, Any]) -> None:
        if "ending" in message:
            self._answered(message)
        elif "dropped" in message:
            self._dropped(message["dropped"])
        elif "printed" in message:
            if call := self.handed.begun.get(message["id"]):
                call.printed = message["printed"].encode("utf-8", "replace")
        elif "ready" in message:
            self._is_ready(is_async=message["ready"] == "async")
        elif "broken" in message:
            self._import_failed(message["broken"])

    def _is_ready(self, *, is_async: bool) -> None:
        self.ready = True
        self._has_started()
        self._is_async = is_async
        self.handed.widen(self._calls_at_once if is_async else 1)
        for call in self.handed.begun.values():
            self._stamp(call)

    def _dropped(self, job_ids: list[str]) -> None:
        """The answer to a recall or a cancel: these will not be begun."""
        self._recalls -= 1
        for job_id in job_ids:
            if call := self.handed.find(job_id):
                self._end(job_id, Outcome(call.attempt.asked or Ending.GIVEN_BACK))
        if not self._is_async and any(call.attempt.asked for call in self.handed.begun.values()):
            self.terminate(now=False)  # begun after all, and a call on the main thread cannot be cancelled
        if self.suspended and not self._recalls:
            self._freeze()

    def _answered(self, message: dict[str, Any]) -> None:
        job_id = message["id"]
        call = self.handed.find(job_id)
        if call is None:
            return
        self.handed.pace.took(message["seconds"])
        if message["ending"] == Ending.CANCELLED:
            self._end(job_id, call.stopped(log=message["log"].encode()))
        else:
            self._end(job_id, answered(message))

    def _import_failed(self, broken: dict[str, Any]) -> None:
        self.closing = self.broken = True
        self._fail_all(Outcome(Ending.FAILED, error=broken["error"], cause=broken["cause"]))

    def _has_started(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None

    def _start_overdue(self) -> None:
        self._starting = None
        self.closing = self.broken = True
        reason = f"its worker was not ready within {self._patience:g} s: does its import hang?"
        self._fail_all(Outcome(Ending.FAILED, error=reason, cause=reason))
        self.kill()

    def _misbehaved(self) -> None:
        """What executes is taken for the cause: nothing else writes to the worker's socket."""
        self.closing = True
        reason = "its worker sent what is no answer: does the job write to file descriptor 3?"
        for job_id in list(self.handed.begun):
            self._end(job_id, Outcome(Ending.FAILED, error=reason, cause=reason))
        self.kill()

    def _fail_all(self, outcome: Outcome) -> None:
        for job_id in self.handed.ids():
            self._end(job_id, outcome)

    # Ending

    def poll(self) -> None:
        """Take in what the worker has said until now."""
        if self._lines is not None:
            self._lines.read()

    def stop(self, job_ids: set[str], ending: Ending, *, now: bool) -> None:
        """End these of its jobs; jobs of others that this costs their place are given back."""
        mine = [job_id for job_id in self.handed.ids() if job_id in job_ids]
        for job_id in mine:
            if call := self.handed.find(job_id):
                call.attempt.asked = call.attempt.asked or ending
        if not mine:
            return
        begun = [job_id for job_id in mine if job_id in self.handed.begun]
        if begun and not self._is_async:
            self.terminate(now=now)
            return
        self._ask_back("cancel", mine)
        if begun and self._stopping is None:
            grace = min(self.flow.grace, 1.0) if now else self.flow.grace
            self._stopping = self._timers.after(grace, self._stop_overdue)

    def _stop_overdue(self) -> None:
        self._stopping = None
        if any(call.attempt.asked or call.timed_out for call in self.handed.begun.values()):
            self.kill()

    def recall(self) -> None:
        """Ask for the jobs that it has not begun; what it drops is given back."""
        if self.handed.queued:
            self._ask_back("recall", list(self.handed.queued))

    def _ask_back(self, how: str, job_ids: list[str]) -> None:
        self._send_jobs()
        self._recalls += 1
        if self.suspended and self._process is not None:
            self._process.signal(signal.SIGCONT)  # until it has answered
        self._send({how: job_ids})

    def _time_is_up(self, call: Call) -> None:
        call.timed_out = True
        if self._is_async:
            self._ask_back("cancel", [call.attempt.job.job_id])
            if self._stopping is None:
                self._stopping = self._timers.after(self.flow.grace, self._stop_overdue)
        else:
            self.terminate(now=False)

    def terminate(self, *, now: bool) -> None:
        """SIGTERM, grace, SIGKILL (``now``: SIGKILL); it gets no more jobs."""
        self.closing = True
        if self._process is not None:
            if now:
                self._process.kill()
            else:
                self._process.terminate(self.flow.grace)

    def kill(self) -> None:
        self.terminate(now=True)

    def retire(self) -> None:
        """Let an unused worker end by itself: it sees the end of its input."""
        self.closing = True
        if self._lines is not None:
            self._lines.close()
        if self._process is not None:
            self._timers.after(self.flow.grace, self.kill)

    def _process_ended(self, end: Exit) -> None:
        self.poll()
        intended = self.closing
        self.closing = True
        if self._lines is not None:
            self._lines.close()
        self._has_started()
        if self._stopping is not None:
            self._stopping.cancel()
        killed = self._process is not None and self._process.killed
        if not intended and not self.ready:
            self.broken = True
            self._fail_all(died(end, self._noise.last_errors()))
        for job_id, call in list(self.handed.begun.items()):
            outside = intended or call.attempt.asked is not None or call.timed_out
            self._end(
                job_id, call.stopped(killed=killed) if outside else died(end, self._noise.last_errors())
            )
        for job_id, call in list(self.handed.queued.items()):
            self._end(job_id, Outcome(call.attempt.asked or Ending.GIVEN_BACK))
        self._gone(self)

    # Suspending

    def suspend(self, job_ids: set[str]) -> None:
        """Stop it where it is, where every job that it executes is meant."""
        if self.suspended or not self.handed.begun or not self.handed.begun.keys() <= job_ids:
            return
        self.suspended = True
        for call in self.handed.begun.values():
            call.allowance.suspend()
        if self._recalls:
            self._timers.after(_RECALL_PATIENCE, self._freeze)
        else:
            self._freeze()

    def _freeze(self) -> None:
        if self.suspended and self._process is not None:
            self._process.signal(signal.SIGSTOP)

    def resume(self, job_ids: set[str]) -> None:
        """Let it go on, where any job that it executes is meant."""
        if not self.suspended or not self.handed.begun.keys() & job_ids:
            return
        self.suspended = False
        for call in self.handed.begun.values():
            call.allowance.resume(started=call.attempt.started_at is not None)
        if self._process is not None:
            self._process.signal(signal.SIGCONT)

    def log(self, job_id: str) -> bytes | None:
        """What a job had printed when it was last asked; asks again."""
        call = self.handed.begun.get(job_id)
        if call is None:
            return None
        self._send({"log": job_id})
        return call.printed


def _nothing() -> None:
    """A worker's jobs begin when it says that it is ready, not when its process starts."""
