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
    """When suspended jobs go on, if nothing else happens; None: there is none, or that cannot be foreseen."""
    starts_at: float | None = None
    """When new jobs start; None: now, or that cannot be foreseen."""
    exposed: str | None = None
    """Why jobs of flows with ``on_busy = "auto"`` do not go on while people are there; None: they do."""

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
    level: Level,
    since: float,
    readings: tuple[Reading, ...],
    now: float,
    *,
    has_suspended: bool,
    exposed: str | None,
    waits: str | None = None,
) -> Verdict:
    """What these readings come to. ``level`` is their highest, and has been since ``since``.

    ``has_suspended``: jobs are suspended. ``exposed`` is the verdict's. ``waits`` says how much longer than usual it is waited, where it is.
    """
    blocking = sorted((reading for reading in readings if reading.level), key=_worst_first)
    told = [reading.reason for reading in blocking] or [reading.fact for reading in readings]
    reasons = tuple(text for text in told if text)
    # What stops running jobs also keeps new ones from starting, and so does what only delays those.
    stopping = [reading for reading in blocking if _holds_suspended(reading, now)] if has_suspended else []
    resumes_at = max((wait.resumes_at for wait in _foreseen(stopping)), default=None)
    starts_at = max((wait.starts_at for wait in _foreseen(blocking)), default=None)
    return Verdict(
        level=level,
        since=since,
        at=now,
        reasons=reasons,
        cause=blocking[0].signal.name if blocking else "idle",
        sentence=_sentence(
            level, reasons, _outlook(blocking, resumes_at, starts_at, now), waits, now - since
        ),
        readings=readings,
        resumes_at=resumes_at,
        starts_at=starts_at,
        exposed=exposed,
    )


def _worst_first(reading: Reading) -> tuple[int, bool, float]:
    """Sorts by level; among those that only need time, the one that needs most comes first, with a reason."""
    needed = reading.wait.starts_at if reading.level is Level.COOLING and reading.wait is not None else 0.0
    return -reading.level, not reading.reason, -needed


def _holds_suspended(reading: Reading, now: float) -> bool:
    """Whether suspended jobs stay so because of it: while something is not known, everything stays as it is."""
    return (
        bool(reading.stops_at(now)) or reading.level is Level.UNKNOWN or reading.signal.name == "suspension"
    )


def _foreseen(blocking: Sequence[Reading]) -> list[Wait]:
    """The waits of these readings; none where the end of any of them cannot be foreseen."""
    waits = [reading.wait for reading in blocking if reading.wait is not None]
    return waits if len(waits) == len(blocking) else []


def _sentence(level: Level, reasons: Sequence[str], outlook: str, longer: str | None, lasting: float) -> str:
    if level is Level.CLEAR:
        return f"idle for {duration(lasting)}: {', '.join(reasons)}"
    told = f"{level.name.lower()}: {'; '.join(reasons)}"
    if level is not Level.COOLING or not outlook:
        return told
    return f"{told}; {outlook} (waits are {longer})" if longer else f"{told}; {outlook}"


def _outlook(
    blocking: Sequence[Reading], resumes_at: float | None, starts_at: float | None, now: float
) -> str:
    """When jobs resume and start, in words."""
    if starts_at is None:
        return ""
    starts = countdown(starts_at - now)
    if resumes_at is None or resumes_at <= now:
        awaited = blocking[0].wait is not None and blocking[0].wait.after_departure
        return f"waiting {starts}" if awaited else f"new jobs start in {starts}"
    if resumes_at == starts_at:
        return f"jobs go on in {starts}"
    return f"suspended jobs resume in {countdown(resumes_at - now)}, new ones start in {starts}"
