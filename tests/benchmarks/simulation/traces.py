"""Made-up traces, each from a seed: the same seed gives the same days."""

import math
from collections.abc import Callable, Iterator
from random import Random

from tests.benchmarks.simulation.world import Burn, Span, World

DAY = 86_400.0
HOUR = 3600.0
MINUTE = 60.0
DAYS = 4
"""From Friday to Monday."""
WEEKEND = (1, 2)


def request(rng: Random, at: float, *, median: float = 0.2) -> Span:
    """A request at this time: most are short, some are the work of a language model."""
    if rng.random() < 0.06:
        return Span(at, at + rng.uniform(4, 40))
    return Span(at, at + max(0.06, rng.lognormvariate(math.log(median), 0.7)))


def visits(rng: Random, start: float, end: float, per_hour: float) -> Iterator[tuple[float, float]]:
    """Begin and end of each visit of somebody in this time."""
    at = start
    while (at := at + rng.expovariate(per_hour / HOUR)) < end:
        yield at, at + rng.lognormvariate(math.log(6 * MINUTE), 0.8)


def clicks(rng: Random, start: float, end: float, think: float = 25.0) -> Iterator[float]:
    """When somebody does something during a visit."""
    at = start
    while at < end:
        yield at
        at += rng.expovariate(1 / think) + 1.0


def office(rng: Random, per_hour: float) -> list[Span]:
    """Requests of people at work, from eight to six, with a lunch break, and a few at other times."""
    found = []
    for day in range(DAYS):
        rate = per_hour * (0.1 if day in WEEKEND else 1.0)
        parts = ((0, 8, 0.02), (8, 12, 1.0), (12, 13, 0.3), (13, 18, 1.0), (18, 24, 0.08))
        for start, end, share in parts:
            times = day * DAY + start * HOUR, day * DAY + end * HOUR
            for begin, leave in visits(rng, *times, rate * share):
                for at in clicks(rng, begin, leave):
                    found += [request(rng, at + rng.random() * 0.3) for _ in range(rng.randint(1, 4))]
    return found


def office_hours(seed: int) -> World:
    """A research group at work."""
    return World("office hours", DAYS * DAY, office(Random(seed), 6.0))


def bursts(seed: int) -> World:
    """Classes: nothing for hours, then thirty people at once."""
    rng = Random(seed)
    found = []
    for day in range(DAYS):
        for _ in range(1 if day in WEEKEND else 3):
            start = day * DAY + rng.uniform(8, 19) * HOUR
            for _ in range(30):
                arrives = start + rng.uniform(0, 5) * MINUTE
                found += [
                    request(rng, at) for at in clicks(rng, arrives, arrives + rng.uniform(15, 40) * MINUTE)
                ]
    return World("bursts", DAYS * DAY, found)


def bots(seed: int) -> World:
    """Some people, and crawlers at all hours that nobody has excluded."""
    rng = Random(seed)
    found = office(rng, 1.0)
    at = 0.0
    while (at := at + rng.expovariate(1 / (25 * MINUTE))) < DAYS * DAY:
        found.append(request(rng, at))
    return World("bots", DAYS * DAY, found)


def probes(seed: int) -> World:
    """Some people, and a monitor that looks every ten minutes and is not excluded."""
    rng = Random(seed)
    found = office(rng, 1.0)
    found += [Span(at, at + 0.06) for at in range(30, round(DAYS * DAY), 600)]
    return World("probes", DAYS * DAY, found)


def overnight_jobs(seed: int) -> World:
    """Some people; a backup every night, compilers by day, and a short cron job each hour."""
    rng = Random(seed)
    burns = []
    for day in range(DAYS):
        night = day * DAY + 2 * HOUR + rng.uniform(0, 20) * MINUTE
        burns.append(Burn(night, night + rng.uniform(60, 120) * MINUTE, 0.7))
        burns += [Burn(day * DAY + hour * HOUR, day * DAY + hour * HOUR + 8, 0.6) for hour in range(24)]
        for _ in range(0 if day in WEEKEND else 6):
            start = day * DAY + rng.uniform(9, 18) * HOUR
            burns.append(Burn(start, start + rng.uniform(1, 12) * MINUTE, rng.uniform(0.5, 0.95)))
    return World("overnight jobs", DAYS * DAY, office(rng, 1.5), burns=burns)


def forgotten_tabs(seed: int) -> World:
    """People who talk over websockets; every third leaves the tab open for hours."""
    rng = Random(seed)
    sockets, messages = [], []
    for day in range(DAYS):
        rate = 0.2 if day in WEEKEND else 2.0
        for begin, leave in visits(rng, day * DAY + 8 * HOUR, day * DAY + 18 * HOUR, rate):
            messages += list(clicks(rng, begin, leave, think=40.0))
            stays = rng.uniform(2, 14) * HOUR if rng.random() < 1 / 3 else 0.0
            sockets.append(Span(begin, min(DAYS * DAY, leave + stays)))
    return World("forgotten tabs", DAYS * DAY, office(rng, 0.5), sockets, messages)


def hangs(seed: int) -> World:
    """Some people, and a web server that hangs now and then and says nothing for a while."""
    rng = Random(seed)
    silent = []
    for day in range(DAYS):
        for _ in range(8):
            start = day * DAY + rng.uniform(0, 24) * HOUR
            silent.append(Span(start, start + rng.uniform(4, 25)))
    return World("hanging server", DAYS * DAY, office(rng, 1.5), hangs=sorted(silent))


TRACES: tuple[Callable[[int], World], ...] = (
    office_hours,
    bursts,
    bots,
    probes,
    overnight_jobs,
    forgotten_tabs,
    hangs,
)
