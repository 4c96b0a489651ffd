"""A configuration that changes under a daemon that runs: by ``buttermilkctl reload`` and by SIGHUP."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.fake_manager import Manager
from tests.acceptance.program import IDLE_AT_ONCE, Daemon, until
from tests.parts import need

WAIT = """
[flows.wait]
command = ["sh", "-c", 'while [ ! -e "$BUTTERMILK_RECORD_ID" ]; do sleep 0.02; done; echo "$WORD"']
env = { WORD = "old" }
"""
QUICK = '[flows.quick]\ncommand = ["true"]\n'


@pytest.fixture
def manager(daemon: Daemon) -> Iterator[Manager]:
    manager = Manager(daemon)
    yield manager
    manager.close()


def test_reload_prints_what_has_changed_and_all_of_it_holds_at_once(daemon: Daemon) -> None:
    daemon.write(WAIT)
    daemon.start()
    daemon.write(WAIT.replace("old", "new") + QUICK, concurrency=3)
    done = daemon.ctl("reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "daemon.concurrency: 2 → 3",
        "flow quick added",
        "flow wait (env) changed",
    ]
    assert daemon.client.status()["concurrency"] == 3
    assert daemon.ended(daemon.client.create("quick", records=["r"]).batch_id)["completed"] == 1


def test_a_reload_that_changes_nothing_says_so(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.ctl("reload").stdout == "nothing has changed\n"


def test_a_group_that_may_change_nothing_any_more_may_not_connect_any_more(daemon: Daemon) -> None:
    need(os.geteuid() == 0, "root, which alone may give a socket to any group")
    daemon.write('[control]\nadmin_groups = ["daemon"]\n')
    daemon.start()
    assert daemon.control.group() == "daemon"
    daemon.write("[control]\nadmin_groups = []\n")
    assert daemon.ctl("reload").stdout == "control.admin_groups: [daemon] → []\n"
    assert daemon.control.stat().st_gid == os.getegid()


def test_running_jobs_go_on_as_they_began_and_later_ones_are_new(daemon: Daemon) -> None:
    daemon.write(WAIT)
    daemon.start()
    batch = daemon.client.create("wait", records=["a", "b", "c"], shuffle=False).batch_id
    daemon.running(2)
    daemon.write(WAIT.replace("old", "new"))
    assert daemon.ctl("reload").returncode == 0
    for name in "abc":
        (daemon.folder / name).touch()
    assert daemon.ended(batch)["completed"] == 3
    printed = [daemon.ctl("logs", f"{batch}.{number}").stdout for number in (1, 2, 3)]
    assert printed == ["old\n", "old\n", "new\n"]


def test_a_removed_flows_jobs_wait_and_say_why_until_it_is_back(daemon: Daemon) -> None:
    daemon.write(WAIT, concurrency=1)
    daemon.start()
    batch = daemon.client.create("wait", records=["a", "b"], shuffle=False).batch_id
    daemon.running(1)
    daemon.write(QUICK, concurrency=1)
    assert daemon.ctl("reload").stdout.splitlines() == ["flow quick added", "flow wait removed"]
    (daemon.folder / "a").touch()
    (daemon.folder / "b").touch()
    until(lambda: daemon.client.batch(batch)["completed"] == 1, "the end of the job that ran")
    assert daemon.client.batch(batch)["waiting_for"] == "flow wait is not configured on this host"
    assert daemon.ctl("create", "wait", "-r", "x").returncode == 5
    daemon.write(WAIT, concurrency=1)
    assert daemon.ctl("reload").returncode == 0
    assert daemon.ended(batch)["completed"] == 2


def test_a_removed_flows_job_that_fails_is_retried_once_the_flow_is_back(daemon: Daemon) -> None:
    fails = '[flows.f]\ncommand = ["sh", "-c", "while [ ! -e end ]; do sleep 0.02; done; exit 1"]\nbackoff = "0s"\nmax_retries = 1\n'
    daemon.write(fails)
    daemon.start()
    batch = daemon.client.create("f", records=["r"]).batch_id
    daemon.running(1)
    daemon.write("")
    assert daemon.ctl("reload").returncode == 0
    (daemon.folder / "end").touch()
    until(lambda: daemon.client.job(f"{batch}.1")["status"] == "pending", "the retry that waits")
    daemon.write(fails)
    assert daemon.ctl("reload").returncode == 0
    assert daemon.ended(batch)["failed"] == 1


def test_fewer_jobs_at_once_let_those_that_run_end_and_more_begin_at_once(daemon: Daemon) -> None:
    daemon.write(WAIT, concurrency=3)
    daemon.start()
    daemon.client.create("wait", records=list("abcd"), shuffle=False)
    daemon.running(3)
    daemon.write(WAIT, concurrency=1)
    assert daemon.ctl("reload").stdout == "daemon.concurrency: 3 → 1\n"
    (daemon.folder / "a").touch()
    (daemon.folder / "b").touch()
    daemon.running(1)
    daemon.write(WAIT, concurrency=2)
    assert daemon.ctl("reload").stdout == "daemon.concurrency: 1 → 2\n"
    daemon.running(2)


def test_a_bad_configuration_is_refused_where_it_was_asked_for_and_changes_nothing(daemon: Daemon) -> None:
    daemon.write(WAIT)
    daemon.start()
    daemon.write(f"{QUICK}timeuot = '1m'\n", concurrency=0)
    done = daemon.ctl("reload")
    assert (done.returncode, done.stdout) == (78, "")
    first, second, error, hint = done.stderr.splitlines()
    assert first.startswith(f"{daemon.config}:2: daemon.concurrency: ")
    assert second.endswith('flows.quick.timeuot: unknown key; did you mean "timeout"?')
    assert error == "error: cannot reload: the configuration is bad, and the one before stays in force"
    assert hint.startswith("hint: mend it")
    assert [flow["name"] for flow in daemon.client.flows()["flows"]] == ["wait"]
    status = daemon.client.status()
    assert status["concurrency"] == 2
    assert status["config_problem"] is not None
    assert first in status["config_problem"]
    assert "configuration: not reloaded: " in daemon.ctl("status").stdout
    daemon.write(WAIT)
    assert daemon.ctl("reload").returncode == 0
    assert daemon.client.status()["config_problem"] is None


def test_what_needs_a_restart_is_named_by_the_answer_by_status_and_by_the_log(daemon: Daemon) -> None:
    daemon.write("", daemon='host = "one"')
    daemon.start()
    daemon.write(QUICK, daemon='host = "two"')
    done = daemon.ctl("reload")
    assert (done.returncode, done.stdout) == (0, "flow quick added\n")
    assert "needs a restart: daemon.host: one → two" in done.stderr
    assert daemon.client.status()["host"] == "one"
    assert daemon.client.status()["needs_restart"] == ["daemon.host"]
    assert "daemon.host: one → two: needs a restart" in daemon.log.read_text()
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.client.status()["host"] == "two"
    assert daemon.client.status()["needs_restart"] == []


def test_programs_get_the_same_as_one_document(daemon: Daemon) -> None:
    daemon.write(WAIT)
    daemon.start()
    daemon.write(WAIT.replace("old", "new"), concurrency=4, daemon='host = "else"')
    told = daemon.ctl_json("reload")
    assert told["applied"] == [{"key": "daemon.concurrency", "before": "2", "after": "4"}]
    assert told["changed"] == [{"flow": "wait", "keys": ["env"]}]
    assert [one["key"] for one in told["needs_restart"]] == ["daemon.host"]


def test_settings_of_idleness_decide_at_once(daemon: Daemon) -> None:
    daemon.write(QUICK)
    daemon.start()
    until(lambda: daemon.client.status()["idle"], "an idle daemon")
    daemon.write(QUICK, idle=f'{IDLE_AT_ONCE}without_reporters = "busy"')
    assert daemon.ctl("reload").stdout == "idle.without_reporters: system → busy\n"
    assert daemon.client.status()["idle"] is False
    daemon.write(QUICK)
    daemon.ctl("reload")
    until(lambda: daemon.client.status()["idle"], "an idle daemon again")


def test_the_drain_is_as_long_as_was_configured_last(daemon: Daemon) -> None:
    daemon.write(WAIT, daemon='drain_timeout = "10m"')
    daemon.start()
    batch = daemon.client.create("wait", records=["never"]).batch_id
    daemon.running(1)
    daemon.write(WAIT, daemon='drain_timeout = "0s"')
    assert daemon.ctl("reload").returncode == 0
    assert daemon.stop() == 0
    assert "waiting up to 0 s" in daemon.log.read_text()
    daemon.start()
    assert daemon.client.job(f"{batch}.1")["interruptions"] == 0


def test_a_probe_is_looked_at_from_the_reload_on(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.client.status()["reporters"] == []
    daemon.write("[activity]\nprobe_every = '100ms'\n[activity.ports]\nnobody = 1\n")
    assert daemon.ctl("reload").returncode == 0
    until(lambda: [one["app"] for one in daemon.client.status()["reporters"]] == ["nobody"], "the probe")
    daemon.write("")
    assert daemon.ctl("reload").returncode == 0
    assert daemon.client.status()["reporters"] == []


# By signal


def test_a_hangup_reloads_and_systemd_is_told_of_its_begin_and_its_end(
    daemon: Daemon, manager: Manager
) -> None:
    daemon.write(WAIT)
    manager.start()
    manager.read()
    manager.messages.clear()
    daemon.write(WAIT, concurrency=7)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.client.status()["concurrency"] == 7, "the reload")
    until(lambda: manager.heard("READY"), "readiness")
    told = [message for message in manager.read() if message.keys() & {"RELOADING", "READY"}]
    assert [sorted(message) for message in told] == [["MONOTONIC_USEC", "RELOADING"], ["READY", "STATUS"]]
    assert told[0]["MONOTONIC_USEC"].isdecimal()


def test_a_hangup_with_a_bad_configuration_leaves_the_reason_in_log_and_status(
    daemon: Daemon, manager: Manager
) -> None:
    daemon.write(WAIT)
    manager.start()
    manager.messages.clear()
    daemon.config.write_text("[daemon\n")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.client.status()["config_problem"], "word of the problem")
    until(lambda: manager.heard("READY"), "readiness")
    assert f"{daemon.config}:1: " in daemon.log.read_text()
    assert daemon.client.flows()["flows"][0]["name"] == "wait"
    daemon.write(WAIT)
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.client.status()["config_problem"] is None, "the end of the problem")


def test_hangups_that_come_in_crowds_and_before_it_is_ready_do_no_harm(
    daemon: Daemon, manager: Manager
) -> None:
    daemon.write(WAIT)
    process = manager.launch()
    until((daemon.folder / "state" / "lock").exists, "the beginning of the start")
    for number in range(200):
        process.send_signal(signal.SIGHUP)
        if number == 100:
            daemon.write(WAIT, concurrency=9)
    until(lambda: manager.heard("READY"), "readiness")
    until(lambda: daemon.client.status()["concurrency"] == 9, "the last configuration")
    assert daemon.stop() == 0
