"""Decides again on what was seen: the policy's own code over a recorded trace, with the settings of choice."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from buttermilkd.config.idle import IdleSettings
from buttermilkd.config.layers import parse_value
from buttermilkd.config.problems import problems_of
from buttermilkd.errors import InvalidRequestError
from buttermilkd.idle.gate import Look
from buttermilkd.idle.history import QUARTER, History, Slice, history_view, merged
from buttermilkd.idle.policy.decide import State, decide
from buttermilkd.idle.policy.observations import Jobs
from buttermilkd.idle.policy.running import Stance
from buttermilkd.idle.policy.settings import Settings
from buttermilkd.idle.trace import Seen, Start, UnreadableTraceError, read
from buttermilkd.messages import HistoryView, ReplayView

_TABLE = "idle."
_FOLLOWS = {"start_after": "quiet_for", "websocket_start_after": "quiet_for", "suspend_max": "suspend_min"}
"""Which key's value follows from which, where nobody has set it."""


class _Tables(BaseModel):
    """The one table of the configuration that a trace holds."""

    idle: IdleSettings


class Work:
    """Jobs without end: one runs whenever it may, so that what is harvested depends on the policy alone."""

    def __init__(self, on_busy: str = "auto") -> None:
        """``on_busy`` is ``auto`` or ``suspend``."""
        self._on_busy = on_busy
        self._begun = False
        self.runs = False
        """Whether it runs now."""

    def jobs(self) -> Jobs:
        return Jobs(**{self._on_busy: 1}) if self._begun else Jobs()

    def carry_out(self, look: Look) -> None:
        self._begun = self._begun or look.actions.start
        stance: Stance = getattr(look.actions, self._on_busy)
        self.runs = self._begun and stance is Stance.GO_ON


class Run:
    """One run of a daemon, decided again look by look. It is a clock as well: as late as the last look."""

    def __init__(self, settings: Settings, on_busy: str = "auto") -> None:
        self._settings = settings
        self._state = State.initial(0.0)
        self._at = self._wall = 0.0
        self.work = Work(on_busy)
        self.history = History(self, lambda: self.work.runs)

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._at

    def see(self, seen: Seen) -> Look:
        """The decision on one look."""
        self._at, self._wall = seen.now, seen.sample.local.timestamp()
        sample = replace(seen.sample, jobs=self.work.jobs())
        self._state, actions, verdict = decide(self._state, sample, self._settings, seen.now)
        look = Look(sample, seen.now, actions, verdict)
        self.work.carry_out(look)
        self.history.note(look)
        return look


def replay(path: Path, changes: Mapping[str, str]) -> ReplayView:
    """What becomes of the time of this trace, with the settings it was recorded with and with ``changes`` to them.

    ``changes`` are ``idle.KEY`` and values as on a command line.

    Raises:
        InvalidRequestError: the trace cannot be read, or a change is none.
    """
    settings = _parsed(changes)
    recorded = _over(path, {})
    return ReplayView(
        file=str(path),
        changes=dict(changes),
        as_recorded=_view(recorded),
        as_changed=_view(_over(path, settings)) if settings else None,
    )


def _parsed(changes: Mapping[str, str]) -> dict[str, Any]:
    for name in changes:
        if not name.startswith(_TABLE):
            raise InvalidRequestError(
                f"cannot set {name} in a replay: it decides again on idleness only",
                hint="set keys of the table [idle], such as idle.quiet_for=30s",
            )
    return {name.removeprefix(_TABLE): parse_value(text) for name, text in changes.items()}


def _over(path: Path, changes: Mapping[str, Any]) -> list[Slice]:
    """The history of all runs in the file. Raises InvalidRequestError."""
    found: list[Slice] = []
    run: Run | None = None
    try:
        with path.open(encoding="utf-8") as lines:
            for one in read(lines):
                if isinstance(one, Seen):
                    if run is not None:
                        run.see(one)
                    continue
                found += _taken(run)
                run = Run(_settings(one, changes))
    except (OSError, UnicodeDecodeError, UnreadableTraceError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            why = "it is no recording of buttermilkd --record (it is not UTF-8 text)"
        raise InvalidRequestError(
            f"cannot replay {path}: {why}", hint="record one with buttermilkd --record FILE"
        ) from error
    return merged([*found, *_taken(run)])


def _taken(run: Run | None) -> Iterable[Slice]:
    return () if run is None else run.history.take()


def _settings(start: Start, changes: Mapping[str, Any]) -> IdleSettings:
    """Raises InvalidRequestError."""
    written = {
        name: value
        for name, value in start.settings.items()
        if name in start.given or _FOLLOWS.get(name) not in changes
    }
    try:
        return _Tables(idle=written | dict(changes)).idle
    except ValidationError as error:
        set_by_somebody = {("idle", name) for name in (*start.given, *changes)}
        problems = [
            f"{'.'.join(problem.path)}: {problem.text}" for problem in problems_of(error, set_by_somebody)
        ]
        raise InvalidRequestError(
            f"cannot replay with these settings: {'; '.join(problems)}", problems=problems
        ) from error


def _view(slices: list[Slice]) -> HistoryView:
    first = slices[0].quarter if slices else 0.0
    last = slices[-1].quarter + QUARTER if slices else 0.0
    return history_view(slices, first, last)
