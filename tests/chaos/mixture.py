"""Runs: a seeded mixture of all faults for some minutes, or many kills within one batch."""

import logging
import time
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from tests.acceptance.program import until
from tests.chaos.checker import Finding
from tests.chaos.faults import Faults
from tests.chaos.world import World

logger = logging.getLogger(__name__)

PATIENCE = 90.0
"""Seconds in which something must happen while there are jobs, once everything is well again."""
MOST_WAITING = 30
KINDS = ("plain",) * 12 + ("flaky", "bad", "fork")
_MOST_SILENT = 60.0
"""Seconds between two kills at the most."""


@dataclass(slots=True)
class Report:
    """What a run came to."""

    seed: int
    queue: str
    faults: dict[str, int]
    figures: dict[str, int]
    missing: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lost(self) -> int:
        return sum(finding.kind == "lost" for finding in self.findings)

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"lost": self.lost}


def mix(
    world: World, faults: Faults, random: Random, seconds: float, most: int | None = None
) -> list[Finding]:
    """Do harm for so many seconds, or so many times, heal everything, wait for all jobs, and check."""
    deadline = _now() + seconds
    world.start()
    while faults.counts.total() < most if most is not None else _now() < deadline:
        feed(world, random)
        began = _now()
        name = faults.inject()
        logger.info("%s took %.1f s; %d jobs have not ended", name, _now() - began, world.unfinished())
        world.get_on(random.randint(0, 6), longest=3.0)
    faults.heal()
    return settled(world)


def feed(world: World, random: Random) -> None:
    """See to it that there is something to do; what had no answer is asked again."""
    ask_again(world)
    if not world.ledger.exists() or world.unfinished() < MOST_WAITING:
        batch = f"b{len(world.expected)}"
        create(world, batch, random.randint(5, 25))


def ask_again(world: World) -> bool:
    """Create what had no answer, by the same keys; whether all are there now."""
    missing = sorted(world.expected.keys() - world.created)
    answered = [create(world, batch, world.expected[batch]) for batch in missing]
    return all(answered)


def create(world: World, batch: str, count: int) -> bool:
    """Every third one is of calls."""
    flow = "call" if int(batch[1:]) % 3 == 1 else "work"
    return world.create(batch, records(batch, count), flow)


def records(batch: str, count: int) -> list[str]:
    """The same ones for the same batch, whenever it is asked for."""
    random = Random(f"{batch} {count}")
    return [f"{random.choice(KINDS)}-{number}" for number in range(count)]


def settled(world: World) -> list[Finding]:
    """Wait until all has ended, and check it. What has not ended by then, the checker finds."""
    until(lambda: ask_again(world), "all batches")
    logger.info("everything is well again; %d jobs have not ended", world.unfinished())
    world.drained(PATIENCE)
    logger.info("at rest")
    return world.verdict()


def kill_often(world: World, random: Random, kills: int, jobs: int) -> list[Finding]:
    """Kill the daemon so often within one batch of so many jobs that do nothing but note themselves."""
    world.start()
    names = [f"plain-{number}" for number in range(jobs)]
    until(lambda: world.create("batch", names), "the batch")
    for kill in range(kills):
        # Spread over the batch, and each at another moment of what goes on.
        least = jobs * kill // (kills + 1)
        world.get_on(least - world.work.ended(), longest=_MOST_SILENT)
        time.sleep(random.uniform(0.0, 0.15))
        world.kill()
        world.start()
    world.drained(PATIENCE)
    return world.verdict()


def _now() -> float:
    return time.monotonic()  # noqa: TID251 - the harness's own
