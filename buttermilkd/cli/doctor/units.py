"""The units of the daemon that is asked, where systemd runs it."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.errors import Exit
from buttermilkd.installation.machine import BOOTED
from buttermilkd.installation.targets import Target, machine, one_user
from buttermilkd.places import SYSTEM

_PATIENCE = 10
_SERVICE = "buttermilkd.service"
_SOCKET = "buttermilkd.socket"
_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Result,ExecMainStatus,NRestarts,NeedDaemonReload,User"
)

Unit = Mapping[str, str]
"""What ``systemctl show`` says of one."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Which daemon is asked: the machine's, one of this user's, or one that somebody started by hand."""

    socket: Path
    target: Target | None
    """None for one that was started by hand, with folders of its own."""

    @classmethod
    def of(cls, socket: Path, environ: Mapping[str, str]) -> "Installation":
        if socket.parent == SYSTEM.runtime:
            return cls(socket, machine())
        own = one_user(environ)
        return cls(socket, own if socket.parent == own.runtime else None)

    def config(self, chosen: Path | None, environ: Mapping[str, str]) -> Path | None:
        """The configuration that its unit names, where nobody has chosen another one."""
        if chosen or environ.get("BUTTERMILKD_CONFIG") or not self.target or not self.target.user:
            return chosen
        return self.target.config if self.target.config.exists() else None

    @property
    def sudo(self) -> str:
        return "sudo " if self.target and not self.target.user else ""

    def systemctl(self, *arguments: str) -> str:
        """A command line for people."""
        assert self.target is not None  # noqa: S101 - asked of those alone that systemd runs
        return self.sudo + " ".join(self.target.systemctl(*arguments))


def examine(installation: Installation) -> Iterator[Finding]:
    if installation.target is None:
        return
    if not BOOTED.is_dir():
        yield good(
            "service", "systemd does not run this machine, so that nothing starts the daemon by itself"
        )
        return
    try:
        units = _shown(installation.target, _SERVICE, _SOCKET)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield bad("service", f"systemd does not answer: {error}")
        return
    if _SERVICE not in units:
        yield good("service", "no manager of this user's services runs here")
        return
    yield service(installation, units[_SERVICE], units.get(_SOCKET, {}))
    if units[_SERVICE].get("LoadState") == "loaded":
        yield socket_of(installation, units.get(_SOCKET, {}))


def is_asleep(installation: Installation) -> bool:
    """Whether a call would start the daemon: to look at it must not do that."""
    if installation.target is None or not BOOTED.is_dir():
        return False
    try:
        units = _shown(installation.target, _SERVICE, _SOCKET)
    except (OSError, subprocess.TimeoutExpired):
        return False
    states = [units.get(name, {}).get("ActiveState") for name in (_SERVICE, _SOCKET)]
    return states[0] in {"inactive", "failed"} and states[1] == "active"


def service(installation: Installation, unit: Unit, socket: Unit) -> Finding:
    """What the state of the daemon's unit means, beside that of its socket."""
    subject = _SERVICE
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
        return bad(_SERVICE, detail, f"see buttermilkd --check-config and {log}; then {start}")
    detail = f"failed: {unit.get('Result')}, exit status {unit.get('ExecMainStatus')}"
    return bad(_SERVICE, detail, f"see {log}; then {start}")


def socket_of(installation: Installation, unit: Unit) -> Finding:
    """What the state of the control socket's unit means."""
    if unit.get("ActiveState") == "active":
        return good(_SOCKET, f"listening at {installation.socket}")
    if unit.get("LoadState") != "loaded":
        return good(_SOCKET, "not installed: the daemon makes its socket, and calls during a restart fail")
    return bad(_SOCKET, f"{unit.get('ActiveState')}", installation.systemctl("enable", "--now", _SOCKET))


def _shown(target: Target, *names: str) -> dict[str, Unit]:
    """What the manager says of each of these units; nothing where there is no manager."""
    done = subprocess.run(
        target.systemctl("show", f"--property={_PROPERTIES}", *names),
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=_PATIENCE,
        check=False,
    )
    blocks = [block for block in done.stdout.split("\n\n") if block.strip()]
    shown = [
        dict(line.split("=", 1) for line in block.strip().splitlines() if "=" in line) for block in blocks
    ]
    return {unit["Id"]: unit for unit in shown if "Id" in unit}
