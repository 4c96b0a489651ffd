"""What becomes of a message that asks for a job. Pure functions: what is known and what is asked for → what to do."""

from dataclasses import dataclass
from enum import StrEnum

from buttermilkd.jobs import Status
from buttermilkd.messages.updates import RANKS

FRESH = 180.0
"""Seconds without a word after which a host is no longer believed to run a job: it tells every minute."""
CROWDED = 5.0
"""Seconds to wait at least with a job whose batch runs as many as it may; more, where many wait."""
LONGEST_WAIT = 300.0
"""Seconds to wait at most with one of those."""
LOOKS = 4.0
"""Such jobs that come back in a second for each that may run: enough, unless they are short."""
ELSEWHERE = 2.0
"""Seconds to wait with a job that is said to run elsewhere: that host may just have given it back."""


class Fate(StrEnum):
    """Of one message."""

    TAKE = "take"
    DROP = "drop"
    """Acknowledge it: what it asks for is done, or no longer wanted."""
    CANCEL = "cancel"
    """Record the job as cancelled, and drop the message."""
    ADOPT = "adopt"
    """It asks for what runs here already: it holds the lease from now on."""
    DEFER = "defer"
    """Let Pub/Sub give it out again later."""


@dataclass(frozen=True, slots=True)
class Known:
    """What this ledger knows of a job and its batch."""

    status: Status
    generation: int
    is_here: bool
    """It runs on this host."""
    is_executing: bool
    """Something of it is executed on this host, and not settled: perhaps an execution that is being ended."""
    heard_at: float | None
    """When another host said last that it runs there."""
    cancelled: bool
    """The batch was cancelled, and who asks did not know that."""
    room: int | None
    """How many more jobs of its batch may run; None: any number."""
    crowd: float = 0.0
    """How many jobs of its batch wait for each place, more or less."""


@dataclass(frozen=True, slots=True)
class Judgement:
    fate: Fate
    delay: float = 0.0
    """For DEFER, in seconds."""


def judge(known: Known, generation: int, not_before: float | None, now: float) -> Judgement:
    """What to do with a request for this generation of a job, which may be due at ``not_before``."""
    if generation < known.generation:
        return Judgement(Fate.DROP)
    if known.status is Status.RUNNING and known.is_here:
        return Judgement(Fate.ADOPT) if generation == known.generation else _later(ELSEWHERE)
    if known.is_executing:
        return _later(ELSEWHERE)
    if generation == known.generation and known.status.ended:
        return Judgement(Fate.DROP)
    if known.cancelled:
        return Judgement(Fate.CANCEL)
    is_elsewhere = known.status is Status.RUNNING and now - (known.heard_at or 0.0) < FRESH
    if generation == known.generation and is_elsewhere:
        return _later(ELSEWHERE)
    if not_before is not None and not_before > now:
        return _later(not_before - now)
    if known.room is not None and known.room <= 0:
        return _later(max(CROWDED, min(known.crowd / LOOKS, LONGEST_WAIT)))
    return Judgement(Fate.TAKE)


def _later(seconds: float) -> Judgement:
    return Judgement(Fate.DEFER, seconds)


def precedence(generation: int, status: Status, sequence: int) -> tuple[int, int, int]:
    """What is known of a job, as something to compare an update's ``precedence`` with.

    The order is total: ledgers that were told the same things agree, in whatever order and however often.
    """
    return generation, RANKS[status], sequence
