"""Jobs that the runner has accepted and not begun, and how much room there is for more."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from buttermilkd.jobs import Ending, Outcome
from buttermilkd.runner.attempt import Attempt
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.lanes import Lanes
from buttermilkd.runner.slots import Slots


class Waiting:
    """They begin in the order in which they came, each as soon as its flow has room.

    ``ended`` is told of those that end without having begun.
    """

    def __init__(
        self,
        flows: Callable[[], Mapping[str, FlowSettings]],
        lanes: Lanes,
        slots: Slots,
        *,
        trouble: Callable[[], str | None],
        ended: Callable[[Attempt, Outcome], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """``trouble``: why nothing can begin at present. ``fail`` is told of an exception of ``ended`` or a lane."""
        self._flows = flows
        self._lanes = lanes
        self._slots = slots
        self._trouble = trouble
        self._ended = ended
        self._fail = fail
        self._attempts: dict[str, Attempt] = {}
        self._counts: Counter[str] = Counter()
        """How many of them there are of each flow that has any."""
        self._is_due = False
        self._ran = False

    def add(self, attempt: Attempt) -> None:
        """It begins in a later turn of the loop."""
        self._attempts[attempt.job.job_id] = attempt
        self._counts[attempt.job.flow] += 1
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self.place)

    def _take_out(self, job_id: str) -> Attempt | None:
        attempt = self._attempts.pop(job_id, None)
        if attempt is not None:
            self._counts[attempt.job.flow] -= 1
            if not self._counts[attempt.job.flow]:
                del self._counts[attempt.job.flow]
        return attempt

    def rooms(self) -> dict[str, int]:
        """For each flow that can take any, how many more jobs it can take now."""
        if self._trouble() is not None:
            return {}
        flows = self._flows()
        rooms = {}
        for name in flows:
            room = self._lanes.of(name, flows).room(self._slots.free).jobs - self._counts[name]
            if room > 0:
                rooms[name] = room
        return rooms

    def room(self) -> int:
        """How many more jobs can be taken now, over all flows."""
        if self._trouble() is not None:
            return 0
        flows, free, jobs = self._flows(), self._slots.free, 0
        for name in flows:
            room = self._lanes.of(name, flows).room(free)
            free -= room.slots
            jobs += room.jobs
        return max(0, jobs - len(self._attempts))

    def place(self) -> None:
        """Begin what waits, as far as there is room; give it back where nothing can begin."""
        self._is_due = False
        try:
            if self._trouble() is None:
                self._place()
            else:
                self.give_back()
        except Exception as error:  # noqa: BLE001 - handed to whoever runs the runner
            self._fail(error)

    def _place(self) -> None:
        flows, rooms, full = self._flows(), dict[str, int](), set[str]()
        for job_id, attempt in list(self._attempts.items()):
            if full == self._counts.keys():  # there is room for none of those behind
                break
            name = attempt.job.flow
            if self._attempts.get(job_id) is not attempt:
                continue
            if name not in flows:
                # Removed since it was taken: it waits where it came from, as others of that flow do.
                self._take_out(job_id)
                self._ended(attempt, Outcome(Ending.GIVEN_BACK))
                continue
            lane = self._lanes.of(name, flows)
            if rooms.get(name) is None:
                rooms[name] = lane.room(self._slots.free).jobs
            if rooms[name] <= 0:
                full.add(name)
                continue
            self._take_out(job_id)
            free = self._slots.free
            lane.begin(attempt)
            self._ran = True
            rooms[name] -= 1
            if self._slots.free != free:  # what it took is missing elsewhere
                rooms = {name: rooms[name]}

    def have_run(self) -> bool:
        """Whether any job has executed since this was asked last."""
        ran, self._ran = self._ran, self._lanes.are_running()
        return ran or self._ran

    def end(self, job_ids: Iterable[str], ending: Ending) -> None:
        """End these, as far as they wait."""
        for job_id in job_ids:
            if attempt := self._take_out(job_id):
                self._ended(attempt, Outcome(ending))

    def give_back(self) -> None:
        """End them all."""
        attempts, self._attempts, self._counts = self._attempts, {}, Counter()
        for attempt in attempts.values():
            self._ended(attempt, Outcome(attempt.asked or Ending.GIVEN_BACK))
