"""The life of a daemon as a service of ``Type=notify``: started, reloaded, watched, restarted and stopped by systemd."""

import json
from collections.abc import Iterator
from itertools import count

import pytest

from tests.systemd.patience import until
from tests.systemd.services import SETTINGS
from tests.systemd.system import Systemd
from tests.systemd.units import DaemonUnits

pytestmark = pytest.mark.needs_root

_NUMBERS = count(1)
QUICK = '[flows.quick]\ncommand = ["true"]\n'
SLOW = '[flows.slow]\ncommand = ["sleep", "6"]\n'
PATIENT = SETTINGS.replace('drain_timeout = "0s"', 'drain_timeout = "2m"')


@pytest.fixture
def units(box: Systemd) -> Iterator[DaemonUnits]:
    units = DaemonUnits(box, f"life-{next(_NUMBERS)}")
    units.write(QUICK)
    yield units
    units.remove()


def test_it_is_active_once_it_answers_and_its_status_is_the_verdicts_sentence(units: DaemonUnits) -> None:
    units.install()
    units.done("start")
    assert units.property("ActiveState") == "active"
    assert units.client.info()["api"] == 1
    until(lambda: units.property("StatusText").startswith("idle for "), "the verdict's sentence")
    assert 'Status: "idle for ' in units.systemctl("status").stdout
    units.client.pause()
    until(lambda: "paused by the operator" in units.property("StatusText"), "the pause")


def test_a_bad_configuration_fails_once_with_78_and_is_not_tried_again(units: DaemonUnits) -> None:
    units.write("[flows.x]\ncomand = ['true']")
    units.install()
    assert units.systemctl("start").returncode != 0
    units.is_in("failed")
    assert (units.property("ExecMainStatus"), units.property("NRestarts")) == ("78", "0")
    assert "flows.x.comand: unknown key" in units.system.log(units.service)


def test_a_socket_of_another_kind_fails_once_as_well(units: DaemonUnits) -> None:
    units.install(socket=True)
    socket = units.system.file(f"/run/systemd/system/{units.socket}")
    socket.write_text(socket.read_text().replace("ListenStream", "ListenDatagram"))
    units.system.run("systemctl", "daemon-reload")
    units.done("start", units.socket)
    assert units.systemctl("start").returncode != 0
    assert units.property("ExecMainStatus") == "78"
    assert "it needs ListenStream= and Accept=no in its unit" in units.system.log(units.service)


def test_a_reload_is_over_once_the_new_configuration_holds(units: DaemonUnits) -> None:
    units.install()
    units.done("start")
    pid = units.property("MainPID")
    units.write(QUICK + SLOW)
    units.done("reload")
    assert [flow["name"] for flow in units.client.flows()["flows"]] == ["quick", "slow"]
    assert (units.property("ActiveState"), units.property("MainPID")) == ("active", pid)


def test_a_reload_of_a_bad_configuration_fails_with_its_reason_and_nothing_else_happens(
    units: DaemonUnits,
) -> None:
    units.install()
    units.done("start")
    pid = units.property("MainPID")
    units.write("[flows.quick]\ncommand = 'true'")
    assert units.systemctl("reload").returncode != 0
    assert "flows.quick.command: " in units.system.log(units.service)
    assert (units.property("ActiveState"), units.property("MainPID")) == ("active", pid)
    assert units.client.flows()["flows"][0]["runs"] == "command true"


def test_a_hangup_reloads_as_well(units: DaemonUnits) -> None:
    units.install()
    units.done("start")
    units.write(QUICK + SLOW)
    units.system.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", units.service)
    until(lambda: len(units.client.flows()["flows"]) == 2, "the reload")
    until(lambda: units.property("SubState") == "running", "the end of the reload")


def test_a_daemon_that_hangs_is_started_again_and_its_batches_go_on(units: DaemonUnits) -> None:
    units.install("WatchdogSec=2s", "TimeoutAbortSec=1s")
    units.done("start")
    pid = units.property("MainPID")
    batch = units.client.create("quick", records=["r"]).batch_id
    units.system.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", units.service)
    until(lambda: units.property("MainPID") not in (pid, "0"), "another daemon")
    units.is_in("active")
    assert units.property("NRestarts") == "1"
    assert "Watchdog timeout" in units.system.log(units.service)
    until(lambda: units.client.batch(batch)["completed"] == 1, "the end of the batch")


def test_a_daemon_that_is_well_outlives_many_periods_of_the_watchdog(units: DaemonUnits) -> None:
    units.install("WatchdogSec=500ms")
    units.done("start")
    pid = units.property("MainPID")

    def pinged() -> str:
        return units.property("WatchdogTimestampMonotonic")

    for _ in range(8):
        before = pinged()
        until(lambda: pinged() != before, "another sign of life")  # noqa: B023
    assert (units.property("MainPID"), units.property("NRestarts")) == (pid, "0")


def test_a_stop_takes_longer_than_its_unit_allows_while_jobs_end(units: DaemonUnits) -> None:
    """The job runs for six seconds, and three are allowed: the daemon asks for more as long as it gets on."""
    units.write(SLOW, PATIENT)
    units.install("TimeoutStopSec=3s")
    units.done("start")
    batch = units.client.create("slow", records=["r"]).batch_id
    until(lambda: units.client.status()["running"], "the job")
    units.done("stop")
    assert units.property("Result") == "success"
    units.done("start")
    assert units.client.batch(batch)["completed"] == 1


# With a socket unit


def test_the_first_call_starts_the_daemon(units: DaemonUnits) -> None:
    units.install(socket=True)
    units.done("start", units.socket)
    assert units.property("ActiveState") == "inactive"
    assert units.ctl_json("status")["pid"] == int(units.property("MainPID"))


def test_calls_that_come_during_restarts_are_answered(units: DaemonUnits) -> None:
    units.install(socket=True)
    units.done("start", units.socket)
    units.done("start")
    calls = []
    for number in range(3):
        calls += [units.ctl("create", "quick", "-r", f"{number}.{one}") for one in range(3)]
        calls += [units.ctl("list") for _ in range(2)]
        units.done("restart")
    for call in calls:
        out, error = call.communicate(timeout=60)
        assert call.returncode == 0, error
        assert json.loads(out)
    until(lambda: not units.client.batches()["batches"], "the end of nine batches")
    assert len(units.client.batches(include_ended=True)["batches"]) == 9


def test_the_socket_keeps_its_mode_and_its_place(units: DaemonUnits) -> None:
    units.install(socket=True)
    units.done("start", units.socket)
    path = units.system.file(f"/run/{units.name}/control.sock")
    before = path.stat()
    units.done("start")
    units.done("restart")
    after = path.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    units.done("stop")
    assert path.exists()


def test_calls_to_a_daemon_with_a_bad_configuration_are_told_why_and_start_it_once_each(
    units: DaemonUnits,
) -> None:
    units.install(socket=True)
    units.write(f"{QUICK}timeuot = '1m'")
    units.done("start", units.socket)
    for _ in range(2):
        call = units.ctl("status")
        _, error = call.communicate(timeout=60)
        assert call.returncode == 78
        assert "flows.quick.timeuot: unknown key" in error
        units.is_in("failed")
    assert units.system.property(units.socket, "ActiveState") == "active"
    assert units.system.log(units.service).count("flows.quick.timeuot: unknown key") == 2
    units.write(QUICK)
    assert units.ctl_json("status")["pid"] == int(units.property("MainPID"))
