"""The policies of others, written from the numbers in their documents and sources.

Each is told of requests and websockets as if they were keys pressed, which none of them could know on a server.
"""

from tests.benchmarks.simulation.policies import Keyboard, LoadAverage, Ran, Recorder
from tests.benchmarks.simulation.world import World

CPUS = 4
JOB = 300.0
"""Seconds that a job takes, where it matters: what is begun is not stopped, or is begun again."""
SLOT = 1 / CPUS
"""What one job of ours uses of all CPUs."""


class Atd:
    """at(1)'s ``batch``: a job begins when the load average is under 0.8, at most one a minute, and is never stopped.

    Source: atd(8), options -l and -b.
    """

    name = "atd (batch)"
    limit = 0.8
    interval = 60.0

    def run(self, world: World) -> Ran:
        recorder, keyboard, load = Recorder(world), Keyboard(world), LoadAverage(CPUS)
        at, ends = 0.0, float("-inf")
        while at < world.seconds:
            average = load.step(at, world.cpu(at - self.interval, at) + (SLOT if at <= ends else 0.0))
            if at >= ends:
                recorder.stop(max(ends, 0.0), suspended=False)
                if average < self.limit:
                    recorder.ran.started_in_flight += keyboard.idle(at) <= 0
                    recorder.start(at)
                    ends = at + JOB
            at += self.interval
        return recorder.end()


class Boinc:
    """BOINC's client as it comes: runs while people are there, and stops for other CPU use only.

    Every 10 s; over 25 % while somebody is there (in use within 3 min), else over 50 %; off for 20 s at least.
    Source: client/cpu_sched.cpp, lib/prefs.cpp of BOINC/boinc.
    """

    name = "BOINC"
    interval = 10.0
    in_use_for = 180.0
    limit_in_use = 0.25
    limit = 0.50
    least_off = 20.0

    def run(self, world: World) -> Ran:
        recorder, keyboard = Recorder(world), Keyboard(world)
        at = self.interval
        stopped = float("-inf")
        while at < world.seconds:
            idle = keyboard.idle(at)
            limit = self.limit_in_use if idle < self.in_use_for else self.limit
            if world.cpu(at - self.interval, at) > limit:
                stopped = at
                recorder.stop(at)
            elif not recorder.runs and at - stopped >= self.least_off:
                recorder.ran.started_in_flight += idle <= 0
                recorder.start(at)
            at += self.interval
        return recorder.end()


class Condor:
    """HTCondor's policy for desktops.

    Every 5 s. Starts after 15 min without a key and with a load of others of 0.3 at most; suspends at a key within
    the last minute, or when other load was over 0.5 for 2 min; goes on after 5 min without a key; ends and gives
    back what was suspended for 10 min. Source: the manual, "Policy Configuration for Execution Points", DESKTOP.
    """

    name = "HTCondor (desktop)"
    interval = 5.0

    def run(self, world: World) -> Ran:  # noqa: C901 - a policy is read in one piece
        recorder, keyboard, load = Recorder(world), Keyboard(world), LoadAverage(CPUS)
        at, busy_since, claimed = 0.0, None, False
        suspended_at: float | None = None
        began = 0.0
        while at < world.seconds:
            idle = keyboard.idle(at)
            average = load.step(at, world.cpu(at - self.interval, at))
            if average < 0.5:
                busy_since = None
            elif busy_since is None:
                busy_since = at
            busy_for = 0.0 if busy_since is None else at - busy_since
            if not claimed:
                if idle > 900 and average <= 0.3:
                    claimed, began = True, at
                    recorder.start(at)
            elif recorder.runs:
                if idle < 60 or (busy_for > 120 and at - began > 90):
                    suspended_at = at
                    recorder.stop(at)
            elif suspended_at is not None:
                if at - suspended_at > 600:
                    claimed, suspended_at = False, None
                    recorder.ran.lost += JOB / 2
                elif busy_since is None and at - suspended_at > 10 and idle > 300:
                    suspended_at = None
                    recorder.start(at)
            at += self.interval
        return recorder.end()


class Folding:
    """Folding@home's client on Linux, "only when idle": looks every 2 s, and runs after 15 s without a key.

    Source: src/fah/client of FoldingAtHome/fah-client-bastet, version 8.
    """

    name = "Folding@home"
    interval = 2.0
    idle_after = 15.0

    def run(self, world: World) -> Ran:
        recorder, keyboard = Recorder(world), Keyboard(world)
        at = 0.0
        while at < world.seconds:
            idle = keyboard.idle(at)
            if idle <= self.idle_after:
                recorder.stop(at)
            elif not recorder.runs:
                recorder.start(at)
            at += self.interval
        return recorder.end()


PEERS = (Atd(), Boinc(), Condor(), Folding())
