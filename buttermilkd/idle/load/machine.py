"""Everything that is measured, in one look: CPUs, pressure, memory, and whether idle priority protects."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

import psutil

from buttermilkd.cgroups import Hierarchy, Membership
from buttermilkd.clock import Clock
from buttermilkd.idle.load.cpu import CpuMeter, CpuUse
from buttermilkd.idle.load.pressure import NO_PRESSURE, SYSTEM, WINDOW, Line, PressureMeter
from buttermilkd.idle.load.protection import protection
from buttermilkd.idle.load.triggers import Threshold, Triggers
from buttermilkd.idle.load.webservers import WebServers
from buttermilkd.idle.policy.observations import Load, Measure, Protection
from buttermilkd.idle.policy.settings import Settings, thresholds

PROTECTION_HOLDS = 30.0
"""Seconds for which what was found out about protection is believed: weights can be changed at any time."""
OWN_JOBS_RUN = "only the whole machine's can be read, and counts our own jobs, which run now"

Source = tuple[Path, Line]
Meters = dict[Source, PressureMeter]


class OwnJobs(Protocol):
    """Our own jobs, as far as they count here."""

    @property
    def method(self) -> str:
        """How their CPU time is counted, where it is no count but an estimate."""

    def cpu_seconds(self) -> float | None:
        """All CPU time that they have used; None: none ever ran."""

    def membership(self) -> Membership | None:
        """Where they run; None where that is not to be seen."""

    def are_running(self) -> bool:
        """Whether any executes, and is not suspended."""


class Machine:
    """Looks at the machine for the gate. What it cannot see is missing, and says why."""

    def __init__(
        self,
        clock: Clock,
        own: OwnJobs,
        settings: Settings,
        *,
        hierarchy: Hierarchy | None,
        cpu: CpuMeter | None = None,
        system: Path = SYSTEM,
    ) -> None:
        """``system`` is the folder of the whole machine's pressure files."""
        self._clock = clock
        self._own = own
        self._settings = settings
        self._hierarchy = hierarchy
        self._servers = WebServers(hierarchy)
        self._cpu = cpu or CpuMeter(method=own.method)
        self._system = system
        self._meters: Meters = {}
        self._of_others: set[Source] = set()
        """Those in which none of our jobs counts: worth a word of the kernel."""
        self._ran_at: float | None = None
        self._protection: tuple[float, frozenset[Membership], Protection] | None = None
        self._triggers: Triggers | None = None

    # A look

    def look(self, tick: float, web: frozenset[Membership]) -> Load:
        """What happened since the last look, ``tick`` seconds ago; ``web`` is where web servers run."""
        at = self._clock.monotonic()
        if self._own.are_running():
            self._ran_at = at
        jobs = self._own.membership()
        use = self._cpu_use(at, tick, web, jobs)
        memory = psutil.virtual_memory()
        before, self._meters, self._of_others = self._meters, {}, set()
        load = Load(
            at=at,
            foreign=use.foreign,
            own=use.own,
            others=use.others,
            steal=use.steal,
            cpu_pressure=self._wait("cpu", web, jobs, at, before),
            io_pressure=self._wait("io", web, jobs, at, before),
            memory_pressure=self._pressure(self._system / "memory", "full", at, before),
            memory_available=Measure(round(memory.available / memory.total, 4)),
            average=os.getloadavg(),
        )
        if self._triggers is not None:
            self._triggers.watch(self._thresholds())
        return load

    def _cpu_use(
        self, at: float, tick: float, web: Collection[Membership], jobs: Membership | None
    ) -> CpuUse:
        """A new sample, if one is due: where our jobs' times are estimated, all of /proc is read for it."""
        if not self._cpu.is_due(at):
            return self._cpu.latest
        own = self._own.cpu_seconds()
        return self._cpu.sample(at, tick, own, self._servers.cpu_seconds(web, jobs, own))

    def _wait(
        self, resource: str, web: Collection[Membership], jobs: Membership | None, at: float, before: Meters
    ) -> Measure:
        """The worst of the web servers' groups; without one, the machine's, while none of our jobs counts in it."""
        files = self._servers.pressure_files(web, jobs, resource)
        found = [self._pressure(file, "some", at, before, "web servers") for file in files]
        if told := [measure for measure in found if measure.value is not None]:
            return max(told, key=lambda measure: measure.value or 0.0)
        machine = self._pressure(self._system / resource, "some", at, before)
        if machine.value is not None and self._ran_at is not None and at - self._ran_at <= WINDOW:
            self._of_others.discard((self._system / resource, "some"))
            return Measure(missing=OWN_JOBS_RUN)
        return machine

    def _pressure(self, file: Path, line: Line, at: float, before: Meters, subject: str = "") -> Measure:
        meter = before.get((file, line)) or PressureMeter(file, line)
        share = meter.share(at)
        if share is None:
            return Measure(missing=NO_PRESSURE)
        self._meters[file, line] = meter
        self._of_others.add((file, line))
        told = self._triggers is not None and self._triggers.granted.get(file, False)
        return Measure(share, subject=subject, method="the kernel tells" if told else "polled")

    # Protection

    def protection(self, web: frozenset[Membership]) -> Protection:
        """Whether idle priority is proven to protect these web servers."""
        now = self._clock.monotonic()
        known = self._protection
        if known is None or known[1] != web or now - known[0] > PROTECTION_HOLDS:
            self._protection = known = (now, web, self._prove(web))
        return known[2]

    def _prove(self, web: frozenset[Membership]) -> Protection:
        jobs = self._own.membership()
        if jobs is None:
            return Protection(proven=False, why="where jobs run is not to be seen")
        return protection(jobs, web, self._weight)

    def _weight(self, path: str) -> int | None:
        return None if self._hierarchy is None else self._hierarchy.group(path).weight()

    # Triggers

    def watch_pressure(self, crossed: Callable[[], None]) -> None:
        """Have the kernel call when pressure goes over a threshold, where it does. Needs a running loop."""
        self._triggers = Triggers(crossed)

    def _thresholds(self) -> list[Threshold]:
        return [
            Threshold(
                file, line, thresholds(self._settings, f"{file.name.removesuffix('.pressure')}_pressure").busy
            )
            for file, line in self._of_others
        ]

    def reconfigure(self, settings: Settings) -> None:
        """Have the kernel watch for other thresholds, from the next look on."""
        self._settings = settings

    def close(self) -> None:
        """Give back what the kernel lent."""
        if self._triggers is not None:
            self._triggers.close()
            self._triggers = None
