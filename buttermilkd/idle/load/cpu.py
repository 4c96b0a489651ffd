"""How busy the CPUs are with what is not ours: the machine's counters less our jobs', differenced by us."""

from collections.abc import Callable
from dataclasses import dataclass

import psutil

from buttermilkd.idle.policy.observations import Measure

LATE_TICKS = 3
"""A sample that comes after so many ticks says nothing about now."""
SHORTEST = 0.5
"""Seconds: the kernel counts in hundredths of a second, so what is closer together is mostly noise."""
TOLERANCE = 0.05
"""Our jobs' time may be an estimate, and exceed the machine's by this share before something is wrong."""


@dataclass(frozen=True, slots=True)
class Times:
    """CPU seconds since the machine started: they only ever grow."""

    used: float
    """By all processes and interrupts. Waiting for disks is no use of a CPU."""
    stolen: float
    """That the host of a virtual machine gave to others."""


def machine_times() -> Times:
    """Of all CPUs together."""
    times = psutil.cpu_times()
    used = times.user + times.nice + times.system + times.irq + times.softirq
    return Times(float(used), float(times.steal))


@dataclass(frozen=True, slots=True)
class CpuUse:
    """What happened between two looks, as shares of all CPUs."""

    foreign: Measure
    others: Measure
    steal: Measure
    own: float = 0.0


@dataclass(frozen=True, slots=True)
class _Counters:
    at: float
    times: Times
    own: float
    web: float | None


class CpuMeter:
    """Takes samples of the CPUs' use by others, one a tick."""

    def __init__(
        self,
        *,
        times: Callable[[], Times] = machine_times,
        cpus: int | None = None,
        method: str = "",
    ) -> None:
        """``method`` says how our own jobs are counted, where that is no count but an estimate."""
        self._times = times
        self._cpus = cpus or psutil.cpu_count() or 1
        self._method = method
        self._before: _Counters | None = None
        self.latest = _unknown("not measured yet")

    def is_due(self, at: float) -> bool:
        """Whether enough time has passed for a new sample; until then ``latest`` stands."""
        return self._before is None or at - self._before.at >= SHORTEST

    def sample(self, at: float, tick: float, own: float | None, web: float | None) -> CpuUse:
        """What happened since the last call, which was meant to be ``tick`` seconds ago.

        ``own`` and ``web`` are the CPU seconds that our jobs and the web servers have used so far; None: none
        of ours ever ran, and it is not told. Called again too soon, it gives the sample before.
        """
        before = self._before
        if not self.is_due(at):
            return self.latest
        now = self._before = _Counters(at, self._times(), own or 0.0, web)
        if before is not None:
            self.latest = self._difference(before, now, tick)
        return self.latest

    def _difference(self, before: _Counters, now: _Counters, tick: float) -> CpuUse:
        elapsed = now.at - before.at
        if elapsed > LATE_TICKS * tick:
            return _unknown(f"measured after {elapsed:.0f} s instead of {tick:.0f} s")
        capacity = elapsed * self._cpus
        used, own = now.times.used - before.times.used, now.own - before.own
        stolen = now.times.stolen - before.times.stolen
        if used < 0 or own < 0 or stolen < 0 or used - own < -TOLERANCE * capacity:
            return _unknown("a counter went backwards")
        foreign = used - own
        return CpuUse(
            foreign=Measure(_share(foreign, capacity), method=self._method),
            others=self._others(before.web, now.web, foreign, capacity),
            steal=Measure(_share(stolen, capacity)),
            own=_share(own, capacity),
        )

    @staticmethod
    def _others(before: float | None, now: float | None, foreign: float, capacity: float) -> Measure:
        if now is None:
            return Measure(missing="what web servers use is not told apart")
        if before is None or now - before < -TOLERANCE * capacity:
            return Measure(problem="web servers came or went")
        return Measure(_share(foreign - (now - before), capacity))


def _unknown(problem: str) -> CpuUse:
    measure = Measure(problem=problem)
    return CpuUse(measure, measure, measure)


def _share(used: float, capacity: float) -> float:
    return round(min(1.0, max(0.0, used / capacity)), 4)
