"""The units of jobs: whether the daemon can have jobs started, where they have a service of their own."""

from collections.abc import Iterator, Mapping

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.installation.manager import JOBS_SERVICE, JOBS_SOCKET, SERVICE, Unit

_RUNS = frozenset({"active", "reloading", "activating"})
_STALE = "changed on disk since systemd read it"


def examine(installation: Installation, units: Mapping[str, Unit]) -> Iterator[Finding]:
    """What the state of these units means; ``units`` are what the manager says of them and of the daemon's."""
    if not installation.sudo:
        return  # a user's daemon starts jobs itself
    socket, service = units.get(JOBS_SOCKET, {}), units.get(JOBS_SERVICE, {})
    runs = units.get(SERVICE, {}).get("ActiveState") in _RUNS
    yield _socket(installation, socket, runs=runs)
    if socket.get("LoadState") == "loaded":
        yield _service(installation, service, runs=runs and socket.get("ActiveState") in _RUNS)


def _socket(installation: Installation, unit: Unit, *, runs: bool) -> Finding:
    """``runs``: the daemon does."""
    state = unit.get("ActiveState")
    if unit.get("LoadState") != "loaded":
        detail = "not installed: jobs run below the daemon, and may do whatever it may"
        return good(JOBS_SOCKET, detail, "sudo buttermilkctl service install")
    if unit.get("NeedDaemonReload") == "yes":
        return bad(JOBS_SOCKET, _STALE, installation.systemctl("daemon-reload"))
    if state == "failed":
        return bad(JOBS_SOCKET, f"failed: {unit.get('Result')}: jobs wait", _again(installation))
    if state in _RUNS:
        return good(JOBS_SOCKET, "listening for the daemon")
    if unit.get("ConditionResult") == "no" and unit.get("ConditionTimestampMonotonic", "0") != "0":
        return good(JOBS_SOCKET, f"{state}, since a condition of it does not hold: jobs run below the daemon")
    if not runs:
        return good(JOBS_SOCKET, f"{state}; it starts with the daemon")
    detail = f"{state} while the daemon runs: jobs wait, or run below the daemon"
    return bad(JOBS_SOCKET, detail, installation.systemctl("start", JOBS_SOCKET))


def _service(installation: Installation, unit: Unit, *, runs: bool) -> Finding:
    """``runs``: the daemon does, and its connection would start the service."""
    state = unit.get("ActiveState")
    if unit.get("LoadState") != "loaded":
        return bad(JOBS_SERVICE, "not installed: jobs wait", "sudo buttermilkctl service install")
    if unit.get("NeedDaemonReload") == "yes":
        return bad(JOBS_SERVICE, _STALE, installation.systemctl("daemon-reload"))
    if state == "failed":
        detail = f"failed: {unit.get('Result')}, exit status {unit.get('ExecMainStatus')}: jobs wait"
        return bad(JOBS_SERVICE, detail, _again(installation))
    if state in _RUNS:
        return good(JOBS_SERVICE, f"{state} ({unit.get('SubState')})")
    if not runs:
        return good(JOBS_SERVICE, f"{state}; it starts with the daemon")
    detail = f"{state} although the daemon runs, which was started before this was there or has lost it"
    return bad(JOBS_SERVICE, detail, installation.systemctl("restart", "buttermilkd"))


def _again(installation: Installation) -> str:
    """The daemon tries again by itself as soon as somebody listens."""
    forget = installation.systemctl("reset-failed", JOBS_SERVICE, JOBS_SOCKET)
    listen = installation.systemctl("restart", JOBS_SOCKET)
    return f"see journalctl -u buttermilkd-jobs -e; then {forget}; {listen}"
