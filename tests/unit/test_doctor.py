"""What the doctor makes of what systemd says, of rights, and of whose files the ledger's are."""

from pathlib import Path

import pytest

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.jobs import examine as examine_jobs
from buttermilkd.cli.doctor.units import service, socket_of
from buttermilkd.installation.manager import JOBS_SERVICE, JOBS_SOCKET, SERVICE, Unit, time_of
from buttermilkd.installation.targets import machine, one_user

MACHINES = Installation(Path("/run/buttermilkd/control.sock"), machine())
USERS = Installation(Path("/run/user/1000/buttermilkd/control.sock"), one_user({"HOME": "/home/ada"}))
RUNS: Unit = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
}
LISTENS: Unit = {"LoadState": "loaded", "ActiveState": "active"}


@pytest.mark.parametrize(
    ("changed", "ok", "said", "mend"),
    [
        ({}, True, "active (running), enabled", None),
        ({"NRestarts": "2"}, True, "restarted 2 times after failures", None),
        ({"UnitFileState": "disabled"}, True, "disabled", "sudo systemctl enable buttermilkd"),
        ({"LoadState": "not-found"}, False, "not installed", "sudo buttermilkctl service install"),
        ({"NeedDaemonReload": "yes"}, False, "changed on disk", "sudo systemctl daemon-reload"),
        ({"ActiveState": "inactive"}, True, "the next call starts it", None),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"},
            False,
            "its configuration or its ledger cannot be used",
            "buttermilkd --check-config",
        ),
        (
            {"ActiveState": "failed", "Result": "watchdog", "ExecMainStatus": "6"},
            False,
            "failed: watchdog",
            "journalctl -u buttermilkd -e; then sudo systemctl restart buttermilkd",
        ),
    ],
)
def test_the_state_of_the_service_has_its_mend(changed: Unit, ok: bool, said: str, mend: str | None) -> None:
    finding = service(MACHINES, {**RUNS, **changed}, LISTENS)

    assert (finding.subject, finding.ok) == ("buttermilkd.service", ok)
    assert said in finding.detail
    assert (finding.mend is None) if mend is None else (mend in str(finding.mend))


def test_a_service_that_nothing_would_start_is_a_problem() -> None:
    finding = service(MACHINES, {**RUNS, "ActiveState": "inactive"}, {})
    assert (finding.ok, finding.mend) == (False, "sudo systemctl enable --now buttermilkd")


def test_a_user_is_told_of_their_own_manager_and_never_of_sudo() -> None:
    gone = service(USERS, {**RUNS, "LoadState": "not-found"}, {})
    assert gone.mend == "buttermilkctl service install --user"
    failed = service(USERS, {**RUNS, "ActiveState": "failed", "ExecMainStatus": "1"}, {})
    assert failed.mend == "see journalctl --user -u buttermilkd -e; then systemctl --user restart buttermilkd"


def test_a_socket_that_does_not_listen_is_a_problem_and_one_that_is_not_installed_is_none() -> None:
    assert socket_of(MACHINES, LISTENS).ok
    assert socket_of(MACHINES, {}).ok
    stopped = socket_of(MACHINES, {**LISTENS, "ActiveState": "inactive"})
    assert (stopped.ok, stopped.mend) == (False, "sudo systemctl enable --now buttermilkd.socket")


GONE: Unit = {"LoadState": "not-found", "ActiveState": "inactive"}
STOPPED: Unit = {**RUNS, "ActiveState": "inactive", "SubState": "dead"}
FAILED: Unit = {**RUNS, "ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "216"}
KEPT: Unit = {**STOPPED, "ConditionResult": "no", "ConditionTimestampMonotonic": "5"}
NEVER: Unit = {**STOPPED, "ConditionResult": "no", "ConditionTimestampMonotonic": "0"}
STALE: Unit = {**RUNS, "NeedDaemonReload": "yes"}
AGAIN = (
    "see journalctl -u buttermilkd-jobs -e; then sudo systemctl reset-failed buttermilkd-jobs.service"
    " buttermilkd-jobs.socket; sudo systemctl restart buttermilkd-jobs.socket"
)


@pytest.mark.parametrize(
    ("socket", "jobs", "daemon", "subject", "ok", "said", "mend"),
    [
        (LISTENS, RUNS, RUNS, JOBS_SOCKET, True, "listening", None),
        (LISTENS, RUNS, RUNS, JOBS_SERVICE, True, "active (running)", None),
        (LISTENS, STOPPED, STOPPED, JOBS_SERVICE, True, "starts with the daemon", None),
        (STOPPED, STOPPED, STOPPED, JOBS_SOCKET, True, "starts with the daemon", None),
        (
            STOPPED,
            STOPPED,
            RUNS,
            JOBS_SOCKET,
            False,
            "jobs wait",
            "sudo systemctl start buttermilkd-jobs.socket",
        ),
        (
            LISTENS,
            STOPPED,
            RUNS,
            JOBS_SERVICE,
            False,
            "although the daemon",
            "sudo systemctl restart buttermilkd",
        ),
        (LISTENS, FAILED, RUNS, JOBS_SERVICE, False, "failed: exit-code, exit status 216", AGAIN),
        (FAILED, FAILED, RUNS, JOBS_SOCKET, False, "failed: exit-code: jobs wait", AGAIN),
        (LISTENS, STALE, RUNS, JOBS_SERVICE, False, "changed on disk", "sudo systemctl daemon-reload"),
        (STALE, RUNS, RUNS, JOBS_SOCKET, False, "changed on disk", "sudo systemctl daemon-reload"),
        (LISTENS, GONE, RUNS, JOBS_SERVICE, False, "not installed", "sudo buttermilkctl service install"),
        (GONE, GONE, RUNS, JOBS_SOCKET, True, "below the daemon", "sudo buttermilkctl service install"),
    ],
)
def test_the_state_of_the_units_of_jobs_has_its_mend(
    socket: Unit, jobs: Unit, daemon: Unit, subject: str, ok: bool, said: str, mend: str | None
) -> None:
    units = {JOBS_SOCKET: socket, JOBS_SERVICE: jobs, SERVICE: daemon}
    finding = {one.subject: one for one in examine_jobs(MACHINES, units)}[subject]

    assert (finding.ok, finding.mend) == (ok, mend)
    assert said in finding.detail


def test_a_users_daemon_has_no_units_of_jobs() -> None:
    assert list(examine_jobs(USERS, {SERVICE: RUNS, JOBS_SOCKET: GONE, JOBS_SERVICE: GONE})) == []


def test_a_time_that_systemd_tells_is_understood_and_none_is_none() -> None:
    assert time_of("Thu 1970-01-01 00:01:00.250000 UTC") == 60.25
    assert time_of("") is None
    assert time_of("n/a") is None


def test_which_daemon_is_asked_is_seen_from_its_socket() -> None:
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert Installation.of(MACHINES.socket, environ).target == machine()
    assert Installation.of(USERS.socket, environ).target == one_user(environ)
    assert Installation.of(Path("/srv/run/control.sock"), environ).target is None


def test_a_users_daemon_is_checked_with_the_configuration_that_its_unit_names(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    users = Installation.of(tmp_path / "run/buttermilkd/control.sock", environ)
    own = tmp_path / ".config/buttermilkd/buttermilkd.toml"
    assert users.config(None, environ) is None
    own.parent.mkdir(parents=True)
    own.touch()
    assert users.config(None, environ) == own
    assert users.config(Path("chosen.toml"), environ) == Path("chosen.toml")
    assert MACHINES.config(None, environ) is None
