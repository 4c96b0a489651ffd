"""``doctor``: what is wrong with this installation, and the mend."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from buttermilkd import __version__
from buttermilkd.cli.output import print_json
from buttermilkd.cli.session import Session, common_options
from buttermilkd.client import Client
from buttermilkd.config.locate import configured_queue, configured_state_dir, find_config
from buttermilkd.errors import ButtermilkError, Exit
from buttermilkd.messages import IdleView

TIMEOUT = 5.0
CHECK_TIMEOUT = 60
QUEUE_CHECK_TIMEOUT = 180
LEAST_FREE = 200 * 2**20
"""Bytes that the ledger should have left to grow."""
LEAST_PYTHON = (3, 11)
LEAST_SQLITE = (3, 35)
"""The first with RETURNING, which the ledger uses."""
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    detail: str
    mend: str | None = None


@click.command(short_help="Find what is wrong with this installation.")
@common_options
@click.pass_obj
def doctor(session: Session) -> Exit:
    """Check this installation, and say for each thing that is wrong how to mend it. Exit with 1 if anything is."""
    findings = []
    for finding in _examine(session):
        findings.append(finding)
        if not session.json:
            _print(session, finding)
    healthy = all(finding.ok for finding in findings)
    if session.json:
        print_json({"ok": healthy, "checks": [asdict(finding) for finding in findings]})
    return Exit.OK if healthy else Exit.FAILURE


def _print(session: Session, finding: Finding) -> None:
    if session.animated(sys.stdout):
        mark = click.style("✓", fg="green") if finding.ok else click.style("✗", fg="red")
    else:
        mark = "ok     " if finding.ok else "problem"
    mend = f"; {finding.mend}" if finding.mend else ""
    session.say(f"{mark} {finding.subject}: {finding.detail}{mend}")


def _examine(session: Session) -> Iterator[Finding]:
    yield _python()
    yield _sqlite()
    configuration = _configuration(session)
    yield configuration
    try:
        yield _state(configured_state_dir(session.config, os.environ))
        if configuration.ok and configured_queue(session.config, os.environ) == "pubsub":
            yield from _pubsub(session)
    except ButtermilkError:
        # The finding on the configuration says it already.
        return
    try:
        client = session.client(TIMEOUT)
        yield from _daemon(client)
    except ButtermilkError as error:
        yield Finding("daemon", ok=False, detail=str(error), mend=error.hint)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "python",
        ok=sys.version_info >= LEAST_PYTHON,
        detail=f"{version} ({sys.executable})",
        mend=None if sys.version_info >= LEAST_PYTHON else "install Python 3.11 or later",
    )


def _sqlite() -> Finding:
    import sqlite3  # noqa: PLC0415 - no other command needs it

    version = sqlite3.sqlite_version_info
    if version < LEAST_SQLITE:
        wanted = ".".join(map(str, LEAST_SQLITE))
        return Finding("sqlite", ok=False, detail=sqlite3.sqlite_version, mend=f"install {wanted} or later")
    first, last = WAL_RESET_BUG
    note = ""
    if first <= version <= last:
        note = "; its WAL-reset bug does no harm here, since one connection alone commits and checkpoints"
    return Finding("sqlite", ok=True, detail=f"{sqlite3.sqlite_version}{note}")


def _configuration(session: Session) -> Finding:
    """The daemon's own judgement, which knows every key; it is too slow to import into this program."""
    try:
        found = find_config(session.config, os.environ)
    except ButtermilkError as error:
        return Finding("configuration", ok=False, detail=str(error), mend=error.hint)
    try:
        check = _daemons_check(found, "--check-config", CHECK_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("configuration", ok=False, detail=f"cannot be checked: {error}")
    name = str(found) if found else "no file, so the defaults"
    if check.returncode == Exit.OK:
        return Finding("configuration", ok=True, detail=name)
    problems = [
        line for line in check.stderr.splitlines() if line and not line.startswith(("error:", "hint:"))
    ]
    detail = (
        "; ".join(problems) or check.stderr.strip().splitlines()[-1:] or [f"exit status {check.returncode}"]
    )
    return Finding(
        "configuration",
        ok=False,
        detail=detail if isinstance(detail, str) else detail[0],
        mend="correct it, and try again with buttermilkd --check-config",
    )


def _daemons_check(config: Path | None, check: str, seconds: float) -> subprocess.CompletedProcess[str]:
    arguments = ["--config", str(config)] if config else []
    return subprocess.run(
        [sys.executable, "-m", "buttermilkd", check, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def _pubsub(session: Session) -> Iterator[Finding]:
    """The daemon's own check: Google's packages are even slower to import."""
    try:
        found = find_config(session.config, os.environ)
        check = _daemons_check(found, "--check-queue", QUEUE_CHECK_TIMEOUT)
        findings = [Finding(**json.loads(line)) for line in check.stdout.splitlines()]
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        yield Finding("pubsub", ok=False, detail=f"cannot be checked: {error}")
        return
    yield from findings
    if check.returncode != Exit.OK and all(finding.ok for finding in findings):
        told = dict(line.split(": ", 1) for line in check.stderr.splitlines() if ": " in line)
        detail = told.get("error", f"cannot be checked: exit status {check.returncode}")
        yield Finding("pubsub", ok=False, detail=detail, mend=told.get("hint"))


def _state(directory: Path) -> Finding:
    """Room for the ledger, at the directory or where it would be made."""
    place = directory
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    detail = f"{directory}, {free // 2**20:,} MiB free"
    if free < LEAST_FREE:
        mend = "make room: the ledger stops when its disk is full"
        return Finding("state", ok=False, detail=detail, mend=mend)
    if place.stat().st_uid == os.geteuid() and not os.access(place, os.W_OK | os.X_OK):
        return Finding("state", ok=False, detail=f"{place} is not writable", mend=f"chmod u+rwx {place}")
    return Finding("state", ok=True, detail=detail)


def _web_servers(verdict: IdleView) -> Finding:
    """Whether they report what their users do. That none does is no fault: there may be none."""
    reports = next((one for one in verdict["signals"] if one["name"] == "reporters"), None)
    unseen = [one["name"] for one in verdict["signals"] if one["state"] == "missing"]
    detail = reports["reason"] or reports["value"] if reports else "not told"
    if reports is not None and reports["state"] == "unknown":
        mend = "see what the web server sends, or whether it hangs"
        return Finding("web servers", ok=False, detail=detail, mend=mend)
    if unseen:
        detail += f"; not told by this machine: {', '.join(unseen)} (see buttermilkctl idle)"
    return Finding("web servers", ok=True, detail=detail)


def _daemon(client: Client) -> Iterator[Finding]:
    status = client.status()
    yield Finding("daemon", ok=True, detail=f"answers on {client.socket}; {status['sentence']}")
    same = status["version"] == __version__
    yield Finding(
        "version",
        ok=same,
        detail=f"buttermilkctl {__version__}, daemon {status['version']}",
        mend=None if same else "restart the daemon: systemctl restart buttermilkd",
    )
    yield _web_servers(client.idle())
    flows = client.flows()["flows"]
    if not flows:
        mend = "add a [flows.NAME] to the configuration"
        yield Finding("flows", ok=False, detail="none is configured", mend=mend)
    for flow in flows:
        yield Finding(
            f"flow {flow['name']}",
            ok=flow["can_run"],
            detail=flow["problem"] or flow["runs"],
            mend=None
            if flow["can_run"]
            else "correct the flow or install what it needs; then restart the daemon",
        )
