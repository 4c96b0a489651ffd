"""Messages that were pulled and not yet begun, and how many more are wanted. Pure: it holds, others act."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from buttermilkd.sharing import Arrival

AHEAD = 0.25
"""Seconds of work that are pulled ahead, at the pace at which jobs have been ending: none, where they take long."""
WINDOW = 1.0
"""Seconds over which that pace is taken."""
MOST = 1_000
"""Messages on the shelf."""


class Shelf:
    """Filled by pulls, emptied by takes; closed while jobs may not begin."""

    def __init__(self, most_blocked: int = 0) -> None:
        """``most_blocked``: messages to keep of flows that have no room here."""
        self._most_blocked = most_blocked
        self._arrivals: dict[str, Arrival] = {}
        self._is_sorted = True
        self._is_open = False
        self._room = 0
        self._rooms: Mapping[str, int] = {}
        self._ends: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._arrivals)

    def open(self, rooms: Mapping[str, int], limit: int) -> None:
        """Jobs may begin: up to ``limit`` now, and of each flow at most its room."""
        self._is_open, self._rooms, self._room = True, rooms, limit

    def close(self) -> list[str]:
        """None may begin any more. What is here goes back: its ack ids."""
        self._is_open, self._room = False, 0
        ack_ids = list(self._arrivals)
        self._arrivals.clear()
        return ack_ids

    def ended(self, jobs: int, now: float) -> None:
        """So many jobs have ended; ``now`` is in monotonic seconds."""
        self._ends.append((now, jobs))

    def wanted(self, now: float) -> int:
        """How many more messages to ask for."""
        if not self._is_open:
            return 0
        here = len(self._arrivals)
        return max(0, min(self._room - self._ready(), MOST - here), self._ahead(now) - here)

    def _ready(self) -> int:
        """How many of those that are here may begin now."""
        counts = Counter(arrival.request.flow for arrival in self._arrivals.values())
        return min(self._room, sum(min(count, self._rooms.get(flow, 0)) for flow, count in counts.items()))

    def _ahead(self, now: float) -> int:
        while self._ends and self._ends[0][0] < now - WINDOW:
            self._ends.popleft()
        return int(sum(jobs for _, jobs in self._ends) / WINDOW * AHEAD)

    def put(self, arrivals: Sequence[Arrival], now: float) -> list[str]:
        """Keep what is wanted; the ack ids of the rest, which goes back."""
        if not self._is_open:
            return [arrival.ack_id for arrival in arrivals]
        counts = Counter(arrival.request.flow for arrival in self._arrivals.values())
        ready, ahead = self._ready(), min(self._ahead(now), MOST)
        surplus: list[str] = []
        for arrival in arrivals:
            flow = arrival.request.flow
            has_room = counts[flow] < self._rooms.get(flow, 0)
            if (has_room and ready >= self._room and len(self._arrivals) >= ahead) or len(
                self._arrivals
            ) >= MOST:
                surplus.append(arrival.ack_id)
                continue
            ready += has_room
            counts[flow] += 1
            self._arrivals[arrival.ack_id] = arrival
            self._is_sorted = False
        return surplus

    def blocked(self, now: float) -> list[Arrival]:
        """Those that are too many of flows without room here: other hosts may have room for them."""
        left = dict(self._rooms)
        waiting: list[Arrival] = []
        for arrival in self._arrivals.values():
            flow = arrival.request.flow
            left[flow] = left.get(flow, 0) - 1
            if left[flow] < 0:
                waiting.append(arrival)
        surplus = waiting[max(self._most_blocked, self._ahead(now)) :]
        self.discard(arrival.ack_id for arrival in surplus)
        return surplus

    def of_others(self, flows: Collection[str]) -> list[Arrival]:
        """Those of flows that are none of these: they are here no longer."""
        found = [arrival for arrival in self._arrivals.values() if arrival.request.flow not in flows]
        self.discard(arrival.ack_id for arrival in found)
        return found

    def discard(self, ack_ids: Iterable[str]) -> None:
        """They are no longer this host's."""
        for ack_id in ack_ids:
            self._arrivals.pop(ack_id, None)

    def choose(self, held: Collection[str]) -> list[Arrival]:
        """Take from the shelf what may begin now: by priority, age and number."""
        if not self._is_sorted:
            ordered = sorted(self._arrivals.values(), key=_order)
            self._arrivals = {arrival.ack_id: arrival for arrival in ordered}
            self._is_sorted = True
        left = dict(self._rooms)
        chosen: list[Arrival] = []
        for arrival in self._arrivals.values():
            flow = arrival.request.flow
            if len(chosen) >= self._room:
                break
            if left.get(flow, 0) > 0 and flow not in held:
                left[flow] -= 1
                chosen.append(arrival)
        for arrival in chosen:
            del self._arrivals[arrival.ack_id]
        return chosen

    def put_back(self, arrivals: Sequence[Arrival]) -> None:
        """They could not be begun, and wait again."""
        self._arrivals |= {arrival.ack_id: arrival for arrival in arrivals}
        self._is_sorted = False

    def taken(self, flow_counts: Mapping[str, int]) -> None:
        """So many jobs of each flow have begun."""
        self._room -= sum(flow_counts.values())
        self._rooms = {flow: room - flow_counts.get(flow, 0) for flow, room in self._rooms.items()}


def _order(arrival: Arrival) -> tuple[int, float, str, int, int]:
    request = arrival.request
    # Of one batch, those first that were begun before.
    return (-request.priority, request.created_at, request.batch_id, -request.generation, request.number)
