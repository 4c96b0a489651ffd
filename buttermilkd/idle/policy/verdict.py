"""The verdict, and the one sentence that says it wherever it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from buttermilkd.idle.policy.readings import Level, Reading, Wait
from buttermilkd.idle.policy.wording import countdown, duration


@dataclass(frozen=True, slots=True)
class Verdict:
    """May jobs run now, and every reason why not, worst first. Times are monotonic seconds."""

    level: Level
    since: float
    at: float
    reasons: tuple[str, ...]
    """Never empty; while idle, the facts that allow it."""
    cause: str
    """The signal that decided; ``idle`` where none is in the way."""
    sentence: str
    readings: tuple[Reading, ...]
    resumes_at: float | None = None
    """When suspended jobs may go on, if nothing else happens; None: now, or that cannot be foreseen."""
    starts_at: float | None = None
    """The same for new jobs."""

    @property
    def idle(self) -> bool:
        return self.level is Level.CLEAR

    @property
    def state(self) -> str:
        """``unknown``, ``busy``, ``cooling``, ``idle`` or ``held``."""
        return "idle" if self.idle else self.level.name.lower()

    @property
    def explanation(self) -> str:
        """The sentence without the state that it begins with."""
        return self.sentence.partition(": ")[2]


def verdict(
    level: Level, since: float, readings: tuple[Reading, ...], now: float, *, waits: str | None = None
) -> Verdict:
    """What these readings come to. ``level`` is their highest, and has been since ``since``.

    ``waits`` says how much longer than usual it is waited, where it is.
    """
    blocking = sorted((reading for reading in readings if reading.level), key=_worst_first)
    told = [reading.reason for reading in blocking] or [reading.fact for reading in readings]
    reasons = tuple(text for text in told if text)
    # What stops running jobs also keeps new ones from starting, and so does what only delays those.
    stopping = [
        reading for reading in blocking if reading.stops_at(now) or reading.signal.name == "suspension"
    ]
    foreseen = _foreseen(blocking)
    return Verdict(
        level=level,
        since=since,
        at=now,
        reasons=reasons,
        cause=blocking[0].signal.name if blocking else "idle",
        sentence=_sentence(level, reasons, _outlook(foreseen, now, waits), now - since),
        readings=readings,
        resumes_at=max((wait.resumes_at for wait in _foreseen(stopping)), default=None),
        starts_at=max((wait.starts_at for wait in foreseen), default=None),
    )


def _worst_first(reading: Reading) -> tuple[int, float]:
    """Sorts by level; among those that only need time, the one that needs most comes first."""
    needed = reading.wait.starts_at if reading.level is Level.COOLING and reading.wait is not None else 0.0
    return -reading.level, -needed


def _foreseen(blocking: Sequence[Reading]) -> list[Wait]:
    """The waits of these readings; none where the end of any of them cannot be foreseen."""
    waits = [reading.wait for reading in blocking if reading.wait is not None]
    return waits if len(waits) == len(blocking) else []


def _sentence(level: Level, reasons: Sequence[str], outlook: str, lasting: float) -> str:
    if level is Level.CLEAR:
        return f"idle for {duration(lasting)}: {', '.join(reasons)}"
    told = f"{level.name.lower()}: {'; '.join(reasons)}"
    return f"{told}; {outlook}" if level is Level.COOLING else told


def _outlook(waits: Sequence[Wait], now: float, longer: str | None) -> str:
    """When jobs resume and start. The longest wait comes first."""
    if not waits:
        return ""
    starts_at = max(wait.starts_at for wait in waits)
    resumes_at = max(wait.resumes_at for wait in waits)
    starts = countdown(starts_at - now)
    if waits[0].after_departure:
        words = f"waiting {starts}"
    elif resumes_at <= now:
        words = f"new jobs start in {starts}"
    elif resumes_at == starts_at:
        words = f"jobs go on in {starts}"
    else:
        words = f"suspended jobs resume in {countdown(resumes_at - now)}, new ones start in {starts}"
    return f"{words} (waits are {longer})" if longer else words
