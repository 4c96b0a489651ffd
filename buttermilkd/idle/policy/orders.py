"""The signals that are neither users nor load: operators, the schedule, the daemon's own start, the clock."""

from collections.abc import Sequence
from datetime import datetime

from buttermilkd.idle.policy.observations import Sample
from buttermilkd.idle.policy.readings import Level, Reading, Signal, Stops, Wait
from buttermilkd.idle.policy.settings import Settings, Window
from buttermilkd.idle.policy.wording import countdown, duration


def operators(holds: Sequence[str]) -> Reading:
    """Whether an operator wants nothing to start; what runs goes on."""
    signal = Signal("operator", "paused", "resumed")
    return signal.blocking(Level.HELD, "paused", ", ".join(holds)) if holds else signal.clear("no pause")


def schedule(allow: Sequence[Window], local: datetime, now: float) -> Reading:
    """Whether it is a time at which jobs may run. No window at all means always."""
    value = f"{local:%a %H:%M}"
    if not allow:
        return Signal("schedule", "never", "always").clear(value)
    windows = ", ".join(map(str, allow))
    signal = Signal("schedule", f"outside {windows}", f"in {windows}", Stops.ALL)
    if any(window.contains(local) for window in allow):
        return signal.clear(value)
    opens = min(window.opens_after(local) for window in allow)
    at = now + (opens - local).total_seconds()
    reason = f"{value} is outside the schedule ({windows}), which opens {opens:%a %H:%M}"
    return signal.blocking(Level.HELD, value, reason, Wait(at, at))


def settling(started: float, settings: Settings, now: float) -> Reading:
    """After a start, web servers get a moment to connect and say what their users do."""
    signal = Signal("start", "just started", f"{countdown(settings.settle_for)} after the start")
    value = f"started {duration(now - started)} ago"
    if now - started >= settings.settle_for:
        return signal.clear(value)
    ready_at = started + settings.settle_for
    reason = f"{value}; waiting for web servers to report"
    return signal.blocking(Level.UNKNOWN, value, reason, Wait(ready_at, ready_at))


def clock(sample: Sample) -> Reading:
    """Whether this look followed the one before as it should: what happened in between is not known."""
    signal = Signal("clock", "three ticks late, or set", "the next tick")
    if sample.gap is not None:
        reason = f"nothing was observed for {duration(sample.gap)} (overload, or a sleep)"
    elif sample.jump is not None:
        way = "forward" if sample.jump > 0 else "back"
        reason = f"the clock went {way} by {duration(abs(sample.jump))} (set by hand, or a sleep)"
    else:
        return signal.clear("steady")
    return signal.blocking(Level.UNKNOWN, "disturbed", reason)
