"""The daemon's side of one warm worker: which jobs it has, which of them it has begun, and what became of them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Outcome
from buttermilkd.journal import about
from buttermilkd.runner.arguments import document
from buttermilkd.runner.attempt import Attempt
from buttermilkd.runner.callables.calls import Call, answered, died, printed
from buttermilkd.runner.callables.handed import Handed
from buttermilkd.runner.callables.suspension import Suspension
from buttermilkd.runner.callables.workerprocess import WorkerProcess
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.process import Exit
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.slots import Slots
from buttermilkd.runner.timers import Timers

logger = logging.getLogger(__name__)


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
        self.handed = Handed(slots, clock)
        self.ready = False
        self.closing = False
        """It gets no more jobs."""
        self.broken = False
        """It ended before it could take a job."""
        self._timers = timers
        self._ended = ended
        self._changed = changed
        self._gone = gone
        self._is_async = False
        self._calls_at_once = min(flow.concurrency or 1, slots.total)
        self._process = WorkerProcess(
            flow,
            self._calls_at_once,
            timers,
            heard=self._heard,
            misbehaved=self._misbehaved,
            overdue=self._start_overdue,
            ended=self._process_ended,
            fail=fail,
        )
        self._unsent: list[Mapping[str, Any]] = []
        self.suspension = Suspension(
            self.handed, self._process, timers, closing=lambda: self.closing, ready=lambda: self.ready
        )

    def start(self, spawner: Spawner) -> None:
        """Start the process, or raise an OSError where nothing can be started."""
        self._process.start(spawner)

    # Jobs

    @property
    def accepts(self) -> bool:
        return not (self.closing or self.handed.suspended)

    def give(self, attempt: Attempt) -> None:
        """Hand a job over; all of one turn of the loop travel together."""
        call = Call(attempt, self._timers, self.flow.timeout, self._time_is_up)
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send_jobs)
        self._unsent.append(document(attempt.job))
        self.handed.add(call)

    def _send_jobs(self) -> None:
        jobs, self._unsent = self._unsent, []
        if jobs:
            self._process.send({"jobs": jobs})

    def _end(self, job_id: str, outcome: Outcome) -> None:
        call = self.handed.remove(job_id)
        call.has_ended()
        if not self.closing:
            self.handed.promote()
        self.suspension.hold()
        self._ended(call.attempt, outcome)

    def _heard(self, message: dict[str, Any]) -> None:
        try:
            self._understand(message)
        except (TypeError, KeyError, AttributeError, ValueError):
            told = about(flow=self.flow.name)
            logger.exception("a worker of flow %s sent what is no answer", self.flow.name, extra=told)
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
        self._process.is_ready()
        self._is_async = is_async
        self.handed.ready(self._calls_at_once if is_async else 1, self._process.pid)

    def _dropped(self, job_ids: list[str]) -> None:
        """The answer to a recall or a cancel: these will not be begun."""
        self.suspension.recall_answered()
        for job_id in job_ids:
            if call := self.handed.find(job_id):
                self._end(job_id, Outcome(call.attempt.asked or Ending.GIVEN_BACK))
        if not self._is_async and self.handed.is_ending_any:
            self.terminate(now=False)  # begun after all, and a call on the main thread cannot be cancelled
        self.suspension.hold()

    def _answered(self, message: dict[str, Any]) -> None:
        job_id = message["id"]
        call = self.handed.find(job_id)
        if call is None:
            return
        self.handed.pace.took(message["seconds"])
        for part, errors in printed(message):
            call.attempt.printed(part, errors=errors)
        if message["ending"] == Ending.CANCELLED:
            self._end(job_id, call.stopped(log=message["log"].encode()))
        else:
            self._end(job_id, answered(message))

    def _import_failed(self, broken: dict[str, Any]) -> None:
        self.closing = self.broken = True
        self._fail_all(Outcome(Ending.FAILED, error=broken["error"], cause=broken["cause"]))

    def _start_overdue(self) -> None:
        self.closing = self.broken = True
        reason = f"its worker was not ready within {self._process.patience:g} s: does its import hang?"
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
        """End them by this; but those that were asked to end, as they were asked."""
        for call in self.handed.all():
            stopped = call.stopped(killed=self._process.killed)
            self._end(call.attempt.job.job_id, outcome if call.attempt.asked is None else stopped)

    # Ending

    def poll(self) -> None:
        """Take in what the worker has said until now."""
        self._process.poll()

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
        for job_id in begun:
            grace = min(self.flow.grace, 1.0) if now else self.flow.grace
            self.handed.begun[job_id].allow(grace, self.kill)

    def recall(self) -> None:
        """Ask for the jobs that it has not begun; what it drops is given back."""
        if self.handed.queued:
            self._ask_back("recall", list(self.handed.queued))

    def _ask_back(self, how: str, job_ids: list[str]) -> None:
        self._send_jobs()
        self.suspension.recall_asked()
        self._process.send({how: job_ids})

    def _time_is_up(self, call: Call) -> None:
        call.attempt.timed_out = True
        if self._is_async:
            self._ask_back("cancel", [call.attempt.job.job_id])
            call.allow(self.flow.grace, self.kill)
        else:
            self.terminate(now=False)

    def terminate(self, *, now: bool) -> None:
        """SIGTERM, grace, SIGKILL (``now``: SIGKILL); it gets no more jobs."""
        self.closing = True
        self._process.terminate(now=now)

    def kill(self) -> None:
        self.terminate(now=True)

    def retire(self) -> None:
        """Let an unused worker end by itself: it sees the end of its input."""
        self.closing = True
        self._process.retire()

    def _process_ended(self, end: Exit) -> None:
        intended = self.closing
        self.closing = True
        by_itself = died(end, self._process.last_errors)
        if not intended and not self.ready:
            self.broken = not end.interrupted
            self._fail_all(by_itself)
        for job_id, call in list(self.handed.begun.items()):
            outside = intended or call.attempt.asked is not None or call.attempt.timed_out
            self._end(job_id, call.stopped(killed=self._process.killed) if outside else by_itself)
        for job_id, call in list(self.handed.queued.items()):
            self._end(job_id, Outcome(call.attempt.asked or Ending.GIVEN_BACK))
        self._gone(self)

    def log(self, job_id: str) -> bytes | None:
        """What a job had printed when it was last asked; asks again."""
        call = self.handed.begun.get(job_id)
        if call is None:
            return None
        self._process.send({"log": job_id})
        return call.printed
