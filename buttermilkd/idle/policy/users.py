"""The signals that web servers report: what their users do. Pure functions."""

from dataclasses import replace

from buttermilkd.idle.policy.observations import Reporter, Web
from buttermilkd.idle.policy.readings import Level, Reading, Signal, Stops, Wait
from buttermilkd.idle.policy.settings import Patience, Settings
from buttermilkd.idle.policy.wording import count, countdown, duration
from buttermilkd.reports import STALE_BEATS

REFUSED_FOR = 30.0
"""Seconds that a reporter counts as busy whose report could not be taken."""


def websockets(web: Web, settings: Settings, patience: Patience, now: float) -> Reading:
    """Open websockets: any of them, or those whose users were active lately.

    A reporter tells one age for all its activity, so while it has websockets open its requests count as
    their messages: the longer of both waits applies.
    """
    any_blocks = settings.websockets == "open"
    wait = patience.websocket_start_after
    signal = Signal(
        "websockets",
        "any open" if any_blocks else f"a message within {countdown(patience.quiet_for)}",
        "none open" if any_blocks else f"silent for {countdown(wait)}",
        Stops.UNPROTECTED,
    )
    holders = [reporter for reporter in web.reporters if reporter.websockets]
    if not holders:
        return signal.clear("none open")
    opened = sum(reporter.websockets for reporter in holders)
    active_at = max(now if holder.active_at is None else holder.active_at for holder in holders)
    age = now - active_at
    value = f"{opened:,} open, last message {duration(age)} ago"
    reason = f"{count(opened, 'websocket')} open, last message {duration(age)} ago"
    if any_blocks:
        return signal.blocking(Level.BUSY, value, reason)
    if age >= wait:
        return signal.clear(value, f"{count(opened, 'forgotten tab')} silent for {duration(age)}")
    level = Level.BUSY if age < patience.quiet_for else Level.COOLING
    return signal.blocking(level, value, reason, Wait(active_at + patience.quiet_for, active_at + wait))


def requests(web: Web, patience: Patience, now: float) -> Reading:
    """Requests in flight, and how long ago the last one was."""
    clear_at = f"quiet for {countdown(patience.start_after)}"
    signal = Signal("requests", "one in flight", clear_at, Stops.UNPROTECTED)
    reporting = [reporter for reporter in web.reporters if not reporter.is_probed]
    in_flight = sum(reporter.requests for reporter in reporting)
    if in_flight:
        since = min((r.requests_since for r in reporting if r.requests_since is not None), default=now)
        reason = f"{count(in_flight, 'request')} in flight for {duration(now - since)}"
        return signal.blocking(Level.BUSY, f"{in_flight:,} in flight", reason)
    told = [reporter.active_at for reporter in reporting if not reporter.websockets]
    active_at = max((at for at in [*told, web.departed_active_at] if at is not None), default=None)
    if active_at is None:
        return signal.clear("none in flight", "no request so far" if told and not web.departure else None)
    value = f"none in flight, last {duration(now - active_at)} ago"
    reason = f"last request {duration(now - active_at)} ago"
    if now - active_at >= patience.start_after:
        return signal.clear(value, reason)
    wait = Wait(active_at + patience.quiet_for, active_at + patience.start_after)
    return signal.blocking(Level.COOLING, value, reason, wait)


def departures(web: Web, patience: Patience, now: float) -> Reading:
    """A web server that went away while its users had something open: they will be back."""
    later = f"{countdown(patience.start_after)} later"
    signal = Signal("departures", "gone with something open", later, Stops.UNPROTECTED)
    gone = web.departure
    if gone is None:
        return signal.clear("none")
    value = f'"{gone.app}" {duration(now - gone.at)} ago'
    lost = [f"{count(gone.requests, 'request')} in flight"] if gone.requests else []
    lost += [f"{count(gone.websockets, 'websocket')} open"] if gone.websockets else []
    reason = f'web server "{gone.app}" gone {duration(now - gone.at)} ago with {" and ".join(lost)}'
    if now - gone.at >= patience.start_after:
        return signal.clear(value, reason)
    wait = Wait(gone.at + patience.quiet_for, gone.at + patience.start_after, after_departure=True)
    return signal.blocking(Level.COOLING, value, reason, wait)


def reporters(web: Web, settings: Settings, now: float) -> Reading:
    """Whether all that report can be believed, and whether there are any."""
    needed = settings.without_reporters == "busy"
    silent_long = f"silent for {STALE_BEATS} beats"
    busy_at = f"{silent_long}, refused{', or none' if needed else ''}"
    signal = Signal("reporters", busy_at, "all report in time", Stops.UNPROTECTED)
    connected = web.reporters
    reporting = [one for one in connected if not one.is_probed]
    silent = sorted((one for one in connected if one.is_stale(now)), key=lambda one: one.heard_at)
    value = f"{len(reporting):,} connected" + (f", {len(silent):,} silent" if silent else "")
    if silent:
        age = duration(now - silent[0].heard_at)
        reason = f"{_named(silent)} silent for {age}; assuming busy"
        # Its users may be there as well as not: jobs that run are treated as if they were.
        return replace(signal.blocking(Level.UNKNOWN, value, reason), stops=signal.stops)
    if (refused := web.refusal) is not None and now - refused.at < REFUSED_FOR:
        ends_at = refused.at + REFUSED_FOR
        age = duration(now - refused.at)
        reason = f"{refused.peer} was refused {age} ago: {refused.why}; assuming busy"
        told = signal.blocking(Level.UNKNOWN, f"{value}, one refused", reason, Wait(ends_at, ends_at))
        return replace(told, stops=signal.stops)
    if unseen := [one for one in connected if one.problem]:
        reason = f"what the users of {unseen[0].app} do is not known ({unseen[0].problem}); assuming busy"
        return replace(signal.blocking(Level.UNKNOWN, value, reason), stops=signal.stops)
    if mute := [one for one in connected if not one.reported]:
        reason = f"{_named(mute)} connected, its first report is due"
        return signal.blocking(Level.UNKNOWN, value, reason)
    if needed and not reporting:
        reason = 'no web server reports (without_reporters = "busy")'
        return signal.blocking(Level.BUSY, value, reason)
    return signal.clear(value, None if reporting else "no web server reports")


def _named(doubtful: list[Reporter]) -> str:
    first = doubtful[0]
    more = f" and {len(doubtful) - 1:,} more" if len(doubtful) > 1 else ""
    return f'web server "{first.app}" (pid {first.pid or "unknown"}){more}'
