"""Callable flows: calls in warm workers, which are started when needed and ended when they are not."""

from collections.abc import Callable

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Outcome
from buttermilkd.runner.attempt import Attempt, cause_of
from buttermilkd.runner.callables.warm import WarmWorker
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.spawner import Spawner, spawn_problem
from buttermilkd.runner.slots import Room, Slots
from buttermilkd.runner.timers import Timer, Timers

_UNUSED_FOR = 300.0
"""Seconds after which an unused worker is ended."""
_BACKOFF = 1.0
_MOST_BACKOFF = 60.0


class CallableLane:
    """The workers of one callable flow."""

    def __init__(
        self,
        flow: FlowSettings,
        *,
        spawner: Spawner,
        slots: Slots,
        timers: Timers,
        clock: Clock,
        ended: Callable[[Attempt, Outcome], None],
        changed: Callable[[], None],
        fail: Callable[[Exception], None],
        left: Callable[[str], int],
    ) -> None:
        """``left``: how many jobs of the flow still run as it was before it changed."""
        self.flow = flow
        self._spawner = spawner
        self._slots = slots
        self._timers = timers
        self._clock = clock
        self._ended = ended
        self._changed = changed
        self._fail = fail
        self._left = left
        self._workers: list[WarmWorker] = []
        self._unused: dict[WarmWorker, Timer] = {}
        self._retired = False
        self._backoff = 0.0
        self._backing_off = False

    # Capacity

    def _places(self, free: int) -> int:
        """How many more may execute now, workers apart."""
        executing = sum(worker.handed.executing for worker in self._workers)
        limit = self.flow.limit(self._slots.total) - self._left(self.flow.name)
        return max(0, min(free, limit - executing))

    def _startable(self) -> int:
        """How many more workers may be started now."""
        return 0 if self._backing_off else max(0, self.flow.workers - len(self._workers))

    def room(self, free: int) -> Room:
        """How many more it could take now, to execute or to have queued in a worker."""
        if free < 0:  # more execute than may: what is queued behind them would execute as well
            return Room(0, 0)
        places = most = self._places(free)
        jobs = 0
        for worker in self._workers:
            if worker.accepts:
                taken = min(places, worker.handed.width - worker.handed.executing)
                places -= taken
                jobs += taken
                if worker.handed.executing + taken == worker.handed.width:
                    jobs += max(0, worker.handed.spare(taken))
        started = min(places, self._startable())
        return Room(jobs + started, most - places + started)

    # Jobs

    def begin(self, attempt: Attempt) -> None:
        """Hand a job to a worker; there must be room."""
        worker = self._choose()
        if worker is None:
            try:
                worker = self._start_worker()
            except OSError as error:
                reason = spawn_problem(error)
                self._back_off()
                self._ended(attempt, Outcome(Ending.FAILED, error=reason, cause=cause_of(reason, None)))
                return
        if timer := self._unused.pop(worker, None):
            timer.cancel()
        worker.give(attempt)

    def _choose(self) -> WarmWorker | None:
        """The worker that begins it soonest; None where a new one does."""
        if len(self._workers) == self.flow.workers == 1 and self._workers[0].accepts:
            return self._workers[0]
        accepting = [worker for worker in self._workers if worker.accepts]
        places = self._places(self._slots.free)
        idle = [worker for worker in accepting if worker.handed.executing < worker.handed.width]
        if places and idle:
            return min(idle, key=_load)
        if places and self._startable():
            return None
        busy = [worker for worker in accepting if worker.handed.executing == worker.handed.width]
        return min(busy, key=_load, default=None)

    def _start_worker(self) -> WarmWorker:
        worker = WarmWorker(
            self.flow,
            slots=self._slots,
            timers=self._timers,
            clock=self._clock,
            ended=self._ended,
            changed=self._worker_changed,
            gone=self._worker_gone,
            fail=self._fail,
        )
        worker.start(self._spawner)
        self._workers.append(worker)
        return worker

    def _worker_changed(self, worker: WarmWorker) -> None:
        if worker.ready:
            self._backoff = 0.0
        if not worker.handed and worker.accepts and worker not in self._unused:
            self._unused[worker] = self._timers.after(_UNUSED_FOR, lambda: self._end_unused(worker))
            if self._retired:
                self._end_unused(worker)
        self._changed()

    def _end_unused(self, worker: WarmWorker) -> None:
        if timer := self._unused.pop(worker, None):
            timer.cancel()
        worker.retire()

    def _worker_gone(self, worker: WarmWorker) -> None:
        self._workers.remove(worker)
        if timer := self._unused.pop(worker, None):
            timer.cancel()
        if worker.broken:
            self._back_off()
        self._changed()

    def _back_off(self) -> None:
        """A worker could not be started: the next try waits, longer each time."""
        self._backoff = min(_MOST_BACKOFF, self._backoff * 2 or _BACKOFF)
        self._backing_off = True
        self._timers.after(self._backoff, self._try_again)

    def _try_again(self) -> None:
        self._backing_off = False
        self._changed()

    # All workers

    def stop(self, job_ids: set[str], ending: Ending, *, now: bool) -> None:
        for worker in list(self._workers):
            worker.poll()
            worker.stop(job_ids, ending, now=now)

    def recall(self) -> None:
        for worker in self._workers:
            worker.recall()

    def suspend(self, job_ids: set[str]) -> None:
        for worker in self._workers:
            worker.suspension.suspend(job_ids)

    def resume(self, job_ids: set[str]) -> None:
        for worker in self._workers:
            worker.suspension.resume(job_ids)
        self._changed()

    def attempts(self) -> list[Attempt]:
        return [call.attempt for worker in self._workers for call in worker.handed.all()]

    def log(self, job_id: str) -> bytes:
        return b"".join(worker.log(job_id) or b"" for worker in self._workers)

    def retire(self) -> None:
        """Its flow has changed: end each worker as soon as it has nothing to do."""
        self._retired = True
        for worker in list(self._workers):
            if not worker.handed:
                self._end_unused(worker)


def _load(worker: WarmWorker) -> int:
    return len(worker.handed)
