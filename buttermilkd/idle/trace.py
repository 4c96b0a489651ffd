"""What the policy saw, as lines of JSON: written while it decides, read to have it decide again.

The first line of a run says when and where, and with which settings. Each line after it is one look, and tells
only what has changed since the look before. Times are seconds since the run began.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from buttermilkd.idle.policy.observations import (
    UNMEASURED,
    Departure,
    Jobs,
    Load,
    Measure,
    Protection,
    Refusal,
    Reporter,
    Sample,
    Web,
)

KIND = "buttermilkd idle trace"
VERSION = 1
HEADER = json.dumps({"trace": KIND})[:-1]
"""How the first line of each run begins."""
_MEASURES = tuple(field.name for field in fields(Load) if field.name not in ("at", "own", "average"))
_STEADY = 1.5
"""Seconds by which wall-clock time may differ from what has passed before it is told anew."""


@dataclass(frozen=True, slots=True)
class Start:
    """The beginning of a run."""

    host: str
    settings: Mapping[str, Any]
    """The table ``[idle]``, as it would be written."""
    given: tuple[str, ...] = ()
    """Those of its keys that somebody has set."""


class Encoder:
    """Turns the looks of one run into lines."""

    def __init__(self, start: Start, began: float | None = None) -> None:
        """``began`` is monotonic time, the run's zero: by default that of the first look."""
        self._began = began
        self._told: dict[str, Any] = {}
        self._local: tuple[float, datetime] | None = None
        self.header = json.dumps(
            {
                "trace": KIND,
                "v": VERSION,
                "host": start.host,
                "idle": dict(start.settings),
                "given": list(start.given),
            }
        )

    def line(self, sample: Sample, now: float) -> str:
        """One look, taken at monotonic ``now``."""
        if self._began is None:
            self._began = now
        at = now - self._began
        document = {**_load(sample.load), **self._web(sample.web, now)}
        document |= {
            "holds": list(sample.holds),
            "gap": sample.gap,
            "jump": sample.jump,
            "jobs": list(astuple(sample.jobs)),
            "protection": list(astuple(sample.protection)),
        }
        if self._local is None or not _follows(self._local, at, sample.local):
            document["local"] = sample.local.isoformat(timespec="milliseconds")
            self._local = (at, sample.local)
        document["looked"] = self._since_start(sample.load.at)
        changed = {
            key: value
            for key, value in document.items()
            if key == "local" or key not in self._told or self._told[key] != value
        }
        self._told |= document
        return json.dumps({"t": round(at, 6), **changed}, separators=(",", ":"), ensure_ascii=False)

    def _since_start(self, at: float) -> float:
        return round(at - (self._began or 0.0), 6)

    def _web(self, web: Web, now: float) -> dict[str, Any]:
        gone = web.departure
        return {
            "reporters": [self._reporter(one, now) for one in web.reporters],
            "departure": None
            if gone is None
            else [gone.app, self._since_start(gone.at), gone.requests, gone.websockets],
            "departed": None if web.departed_active_at is None else self._since_start(web.departed_active_at),
            "refused": None
            if web.refusal is None
            else [web.refusal.peer, web.refusal.why, self._since_start(web.refusal.at)],
        }

    def _reporter(self, one: Reporter, now: float) -> dict[str, Any]:
        # When one was heard matters only where it was not heard for too long.
        heard = self._since_start(one.heard_at) if one.is_stale(now) else None
        since = None if one.requests_since is None else self._since_start(one.requests_since)
        return {
            "app": one.app,
            "pid": one.pid,
            "worker": one.worker,
            "kind": one.kind,
            "heard": heard,
            "stale_after": one.stale_after,
            "idle_since": self._since_start(one.idle_since),
            "used": one.used,
            "reported": one.reported,
            "requests": one.requests,
            "websockets": one.websockets,
            "total": one.total,
            "requests_since": since,
            **({"problem": one.problem} if one.problem else {}),
        }


def _follows(known: tuple[float, datetime], at: float, local: datetime) -> bool:
    expected = known[1] + timedelta(seconds=at - known[0])
    return expected.utcoffset() == local.utcoffset() and abs((local - expected).total_seconds()) < _STEADY


def _load(load: Load) -> dict[str, Any]:
    document: dict[str, Any] = {name: _measure(getattr(load, name)) for name in _MEASURES}
    return document | {"own": load.own}


def _measure(measure: Measure) -> Any:
    """A bare number where that says it all."""
    plain = Measure(measure.value)
    if measure == plain and measure.value is not None:
        return measure.value
    told = {field.name: getattr(measure, field.name) for field in fields(Measure)}
    return {name: value for name, value in told.items() if value not in (None, "")}


# Reading


class UnreadableTraceError(ValueError):
    """A line is none of a trace; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look that was recorded."""

    sample: Sample
    now: float
    """Seconds since the run began."""


def read(lines: Iterable[str]) -> Iterator[Start | Seen]:
    """The runs of a trace, one after the other: each a ``Start``, then its looks.

    A line that was not written to its end, as by a daemon that died, is left out: the last one of a run.

    Raises:
        UnreadableTraceError: a line cannot be read, or there is none.
    """
    decoder = Decoder()
    problem: UnreadableTraceError | None = None
    number = 0
    for number, line in enumerate(lines, 1):
        if problem is not None:
            if not (decoder.began and line.startswith(HEADER)):
                raise problem
            problem = None
        try:
            one = decoder.decode(line)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            problem = UnreadableTraceError(_why(error, number, began=decoder.began))
        else:
            yield one
    if problem is not None and not decoder.began:
        raise problem
    if not number:
        raise UnreadableTraceError("it is empty")


def _why(error: Exception, number: int, *, began: bool) -> str:
    if isinstance(error, UnreadableTraceError):
        return f"line {number}: {error}"
    fault = "not JSON" if isinstance(error, json.JSONDecodeError) else "not what is written there"
    told = f"line {number} is {fault}"
    return told if began else f"it is no recording of buttermilkd --record ({told})"


class Decoder:
    """Turns lines into what they tell."""

    def __init__(self) -> None:
        self.began = False
        """A run has begun."""
        self._told: dict[str, Any] = {}
        self._local: tuple[float, datetime] | None = None

    def decode(self, line: str) -> Start | Seen:
        """Raises ValueError, KeyError, TypeError, AttributeError, IndexError: the line is none of a trace."""
        document = json.loads(line)
        if "trace" in document:
            start = _start(document)
            self.began, self._told, self._local = True, {}, None
            return start
        if not self.began:
            raise UnreadableTraceError("no trace of buttermilkd begins like this")
        self._told |= document
        at = float(document["t"])
        if "local" in document:
            self._local = (at, datetime.fromisoformat(document["local"]))
        return _seen(self._told, at, self._local)


def _start(document: Mapping[str, Any]) -> Start:
    if document["trace"] != KIND or document["v"] != VERSION:
        wanted = f"{KIND}, version {VERSION}"
        raise UnreadableTraceError(f"it is no {wanted}, but {document['trace']}, version {document['v']}")
    return Start(document["host"], document["idle"], tuple(document.get("given", ())))


def _seen(told: Mapping[str, Any], at: float, local: tuple[float, datetime] | None) -> Seen:
    if local is None:
        raise KeyError("local")
    web = Web(
        tuple(_told_reporter(one, at) for one in told["reporters"]),
        None if told["departure"] is None else Departure(*told["departure"]),
        told["departed"],
        None if told["refused"] is None else Refusal(*told["refused"]),
    )
    sample = Sample(
        web=web,
        load=_told_load(told),
        local=local[1] + timedelta(seconds=at - local[0]),
        holds=tuple(told["holds"]),
        gap=told["gap"],
        jump=told["jump"],
        jobs=Jobs(*told["jobs"]),
        protection=Protection(*told["protection"]),
    )
    return Seen(sample, at)


def _told_reporter(told: Mapping[str, Any], at: float) -> Reporter:
    heard = told["heard"]
    rest = {key: value for key, value in told.items() if key != "heard"}
    return Reporter(heard_at=at if heard is None else heard, **rest)


def _told_load(told: Mapping[str, Any]) -> Load:
    load = Load(at=told["looked"], foreign=UNMEASURED, own=told["own"])
    measures = {name: _told_measure(told[name]) for name in _MEASURES}
    return replace(load, **measures)  # type: ignore[arg-type]


def _told_measure(value: Any) -> Measure:
    return Measure(**value) if isinstance(value, dict) else Measure(value)
