"""The signal of servers that are looked at from outside. Pure functions."""

from buttermilkd.idle.policy.observations import Reporter, Web
from buttermilkd.idle.policy.readings import Level, Reading, Signal, Stops, Wait
from buttermilkd.idle.policy.settings import Patience
from buttermilkd.idle.policy.wording import count, countdown, duration

_NOUN = {"nginx": "request", "port": "connection"}
"""What is counted of each kind."""


def probed(web: Web, patience: Patience, now: float) -> tuple[Reading, ...]:
    """What is open there, and how long ago the last of it was; nothing where nothing is looked at."""
    servers = [reporter for reporter in web.reporters if reporter.is_probed]
    if not servers:
        return ()
    quiet = f"quiet for {countdown(patience.start_after)}"
    signal = Signal("probes", "anything open", quiet, Stops.UNPROTECTED)
    if used := [server for server in servers if server.requests]:
        reason = "; ".join(_open(server, now) for server in used)
        return (signal.blocking(Level.BUSY, ", ".join(_value(server) for server in servers), reason),)
    last = max(servers, key=lambda server: server.active_at or float("-inf"))
    value = ", ".join(_value(server) for server in servers)
    if last.active_at is None:
        return (signal.clear(value),)
    reason = f"last {_NOUN[last.kind]} at {last.app} {duration(now - last.active_at)} ago"
    if now - last.active_at >= patience.start_after:
        return (signal.clear(value, reason),)
    wait = Wait(last.active_at + patience.quiet_for, last.active_at + patience.start_after)
    return (signal.blocking(Level.COOLING, value, reason, wait),)


def _open(server: Reporter, now: float) -> str:
    since = now if server.requests_since is None else server.requests_since
    return f"{_value(server)} for {duration(now - since)}"


def _value(server: Reporter) -> str:
    if server.kind == "nginx":
        return f"{count(server.requests, 'request')} in flight at {server.app}"
    return f"{count(server.requests, 'connection')} to {server.app}"
