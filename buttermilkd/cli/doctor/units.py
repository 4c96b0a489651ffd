"""The units of the daemon that is asked, where systemd runs it."""

import subprocess
from collections.abc import Iterator

from buttermilkd.cli.doctor import jobs
from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.errors import Exit
from buttermilkd.installation.machine import BOOTED
from buttermilkd.installation.manager import JOBS_SERVICE, JOBS_SOCKET, SERVICE, SOCKET, Unit, shown

_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,NRestarts,NeedDaemonReload,User,"
    "ConditionResult,ConditionTimestampMonotonic"
)


def examine(installation: Installation) -> Iterator[Finding]:
    if installation.target is None:
        return
    if not BOOTED.is_dir():
        yield good(
            "service", "systemd does not run this machine, so that nothing starts the daemon by itself"
        )
        return
    try:
        units = shown(installation.target, _PROPERTIES, SERVICE, SOCKET, JOBS_SERVICE, JOBS_SOCKET)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield bad("service", f"systemd does not answer: {error}")
        return
    if SERVICE not in units:
        yield good("service", "no manager of this user's services runs here")
        return
    yield service(installation, units[SERVICE], units.get(SOCKET, {}))
    if units[SERVICE].get("LoadState") == "loaded":
        yield socket_of(installation, units.get(SOCKET, {}))
        yield from jobs.examine(installation, units)


def is_asleep(installation: Installation) -> bool:
    """Whether a call would start the daemon: to look at it must not do that."""
    if installation.target is None or not BOOTED.is_dir():
        return False
    try:
        units = shown(installation.target, _PROPERTIES, SERVICE, SOCKET)
    except (OSError, subprocess.TimeoutExpired):
        return False
    states = [units.get(name, {}).get("ActiveState") for name in (SERVICE, SOCKET)]
    return states[0] in {"inactive", "failed"} and states[1] == "active"


def service(installation: Installation, unit: Unit, socket: Unit) -> Finding:
    """What the state of the daemon's unit means, beside that of its socket."""
    subject = SERVICE
    state = (
        f"{unit.get('ActiveState')} ({unit.get('SubState')}), {unit.get('UnitFileState') or 'not enabled'}"
    )
    if unit.get("LoadState") != "loaded":
        where = " --user" if not installation.sudo else ""
        return bad(subject, "not installed", f"{installation.sudo}buttermilkctl service install{where}")
    if unit.get("NeedDaemonReload") == "yes":
        return bad(subject, "changed on disk since systemd read it", installation.systemctl("daemon-reload"))
    if unit.get("ActiveState") == "failed":
        return _failed(installation, unit)
    if (restarts := unit.get("NRestarts", "0")) != "0":
        state += f", restarted {restarts} times after failures"
    if unit.get("ActiveState") in {"active", "reloading", "activating"}:
        enabled = unit.get("UnitFileState") == "enabled"
        when = "the machine" if installation.sudo else "your first session"
        better = (
            None
            if enabled
            else f"to have it start with {when}: {installation.systemctl('enable', 'buttermilkd')}"
        )
        return good(subject, state, better)
    if socket.get("ActiveState") == "active":
        return good(subject, f"{state}; the next call starts it")
    return bad(subject, state, installation.systemctl("enable", "--now", "buttermilkd"))


def _failed(installation: Installation, unit: Unit) -> Finding:
    log = "journalctl --user -u buttermilkd -e" if not installation.sudo else "journalctl -u buttermilkd -e"
    start = installation.systemctl("restart", "buttermilkd")
    if unit.get("ExecMainStatus") == str(int(Exit.BAD_CONFIG)):
        detail = "failed: its configuration or its ledger cannot be used, so it is not started again"
        return bad(SERVICE, detail, f"see buttermilkd --check-config and {log}; then {start}")
    detail = f"failed: {unit.get('Result')}, exit status {unit.get('ExecMainStatus')}"
    return bad(SERVICE, detail, f"see {log}; then {start}")


def socket_of(installation: Installation, unit: Unit) -> Finding:
    """What the state of the control socket's unit means."""
    if unit.get("ActiveState") == "active":
        return good(SOCKET, f"listening at {installation.socket}")
    if unit.get("LoadState") != "loaded":
        return good(SOCKET, "not installed: the daemon makes its socket, and calls during a restart fail")
    return bad(SOCKET, f"{unit.get('ActiveState')}", installation.systemctl("enable", "--now", SOCKET))
