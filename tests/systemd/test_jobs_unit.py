"""Jobs in a unit of their own: in their slice, frozen as wholes, gone with whichever of daemon and launcher ends."""

from collections.abc import Iterator

import pytest

from buttermilkd.installation.templates import drop_ins
from buttermilkd.messages import JobView
from tests.systemd.jobs_unit import (
    GROUP,
    JOBS,
    SANDBOX,
    SOCKET,
    UNITS,
    USER,
    SplitDaemon,
    drop_in,
    install,
    remove,
    rendered,
)
from tests.systemd.patience import until
from tests.systemd.services import web_server
from tests.systemd.system import Systemd
from tests.systemd.tree import Tree, members, until_frozen

pytestmark = pytest.mark.needs_root


@pytest.fixture
def daemon(box: Systemd) -> Iterator[SplitDaemon]:
    """A daemon that is not started yet, beside the jobs' units as they are shipped."""
    install(box)
    daemon = SplitDaemon(box)
    yield daemon
    daemon.stop()
    remove(box)


def one_tree(daemon: SplitDaemon) -> tuple[str, Tree]:
    """The id of a job that runs, and its processes."""
    batch = daemon.client.create("tree", records=["r"]).batch_id
    return f"{batch}.1", Tree(daemon)


def test_a_job_has_a_group_in_the_unit_of_jobs_whose_slice_is_idle(daemon: SplitDaemon) -> None:
    daemon.start(*USER)
    one_tree(daemon)
    assert daemon.place_of(daemon.job()["pid"]) == "/1"
    assert daemon.place_of(daemon.launcher) == "/launcher"
    assert daemon.ctl_json("idle")["suspending"] == {"method": "freezer", "why": None}
    assert daemon.system.property("buttermilkd.slice", "CPUWeight") == "idle"
    assert daemon.path_of(daemon.launcher).endswith(f"{GROUP}/launcher")
    assert daemon.path_of(daemon.system.main_pid(daemon.unit)).endswith(f"/system.slice/{daemon.unit}")


def test_nothing_runs_in_the_unit_of_jobs_until_a_daemon_connects_and_nobody_else_may(
    daemon: SplitDaemon,
) -> None:
    assert daemon.launcher == 0
    assert daemon.system.file("/run/buttermilkd/jobs.sock").stat().st_mode & 0o777 == 0o600
    daemon.start(*USER)
    until(lambda: daemon.launcher, "the start of the launcher")


def test_a_whole_tree_is_frozen_while_a_request_is_in_flight_and_goes_on_afterwards(
    daemon: SplitDaemon,
) -> None:
    daemon.start(*USER, *SANDBOX)
    with web_server(daemon) as web:
        _, tree = one_tree(daemon)
        group = daemon.group_of(daemon.job())
        assert sorted(group.pids()) == sorted(tree.pids)
        with web.request():
            until_frozen(group)
            assert tree.stands_still()
        until_frozen(group, frozen=False)
        tree.goes_on()


def test_nothing_of_a_frozen_job_survives_the_stop_of_the_daemon(daemon: SplitDaemon) -> None:
    daemon.start(*USER)
    with web_server(daemon) as web:
        _, tree = one_tree(daemon)
        with web.request():
            until_frozen(daemon.group_of(daemon.job()))
            daemon.stop()
            assert tree.is_gone()
            assert not members(daemon.group)
            until(lambda: daemon.launcher == 0, "the end of the launcher")
            assert daemon.system.property(JOBS, "Result") == "success"


def test_nothing_of_a_frozen_job_survives_the_daemons_sudden_death_and_it_runs_again_under_the_next(
    daemon: SplitDaemon,
) -> None:
    daemon.start(*USER, "Restart=always", "RestartSec=0")
    with web_server(daemon) as web:
        job_id, first = one_tree(daemon)
        with web.request():
            until_frozen(daemon.group_of(daemon.job()))
            daemon.kill()
            until(first.is_gone, "the end of the tree")
        second = Tree(daemon)
        assert sorted(daemon.group_of(daemon.job()).pids()) == sorted(second.pids)
        assert daemon.client.job(job_id)["interruptions"] == 1


def test_nothing_survives_the_launchers_sudden_death_and_its_job_runs_again_at_no_cost(
    daemon: SplitDaemon,
) -> None:
    daemon.start(*USER)
    job_id, first = one_tree(daemon)
    daemon.system.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", JOBS)
    until(first.is_gone, "the end of the tree")
    Tree(daemon)
    job = daemon.client.job(job_id)
    assert (job["status"], job["attempt"], job["interruptions"]) == ("running", 1, 1)


def test_a_stop_of_the_unit_of_jobs_gives_its_job_back_which_costs_no_attempt(daemon: SplitDaemon) -> None:
    daemon.start(*USER)
    job_id, first = one_tree(daemon)
    daemon.system.run("systemctl", "stop", JOBS)
    assert first.is_gone()
    second = Tree(daemon)
    assert not set(first.pids) & set(second.pids)
    job = daemon.client.job(job_id)
    assert (job["status"], job["attempt"], job["interruptions"]) == ("running", 1, 0)


def test_jobs_wait_and_say_why_while_nobody_listens_for_them_and_then_run(daemon: SplitDaemon) -> None:
    daemon.start(*USER)
    job_id, first = one_tree(daemon)
    batch = job_id.rpartition(".")[0]
    daemon.system.run("systemctl", "stop", SOCKET, JOBS)
    assert first.is_gone()
    until(
        lambda: "refused" in (daemon.client.batch(batch)["waiting_for"] or ""),
        "a word on what is waited for",
    )
    assert not members(daemon.group)
    daemon.system.run("systemctl", "start", SOCKET)
    Tree(daemon)


def test_a_launcher_that_cannot_start_is_told_of_costs_no_attempt_and_keeps_no_daemon_from_starting(
    daemon: SplitDaemon,
) -> None:
    drop_in(daemon.system, "broken", '[Service]\nExecStart=\nExecStart=/bin/sh -c "sleep 0.1; exit 1"\n')
    daemon.start(*USER, "Restart=always", "RestartSec=0")
    batch = daemon.client.create("tree", records=["r"]).batch_id
    dead = daemon.system.main_pid(daemon.unit)
    daemon.kill()  # what it has sent there outlives it, so that must not be the lock
    until(
        lambda: daemon.system.main_pid(daemon.unit) not in (0, dead) and daemon.answers(),
        "the start of the next daemon",
    )
    until(
        lambda: "launcher of jobs" in (daemon.client.batch(batch)["waiting_for"] or ""),
        "a word on the launcher",
    )
    until(
        lambda: daemon.system.property(SOCKET, "ActiveState") == "failed",
        "the end of systemd's tries to start it",
    )
    drop_in(daemon.system, "broken", "")
    daemon.system.run("systemctl", "reset-failed", JOBS, SOCKET)
    daemon.system.run("systemctl", "start", SOCKET)
    Tree(daemon)
    assert daemon.client.job(f"{batch}.1")["attempt"] == 1


def test_jobs_run_below_the_daemon_where_a_condition_keeps_their_socket_from_opening(
    daemon: SplitDaemon,
) -> None:
    drop_in(daemon.system, "none", "[Unit]\nConditionPathExists=/none\n", SOCKET)
    daemon.system.run("systemctl", "stop", SOCKET, JOBS)
    daemon.system.run("rm", "/run/buttermilkd/jobs.sock")
    daemon.start(*USER, f"Wants={SOCKET}", f"After={SOCKET}", "Delegate=yes")
    daemon.group = daemon.system.hierarchy.group(f"/system.slice/{daemon.unit}")
    one_tree(daemon)
    assert daemon.path_of(daemon.job()["pid"]).startswith(
        daemon.path_of(daemon.system.main_pid(daemon.unit)).rpartition("/")[0]
    )
    assert daemon.launcher == 0
    told = daemon.system.run("systemctl", "show", "--property=ConditionResult", SOCKET)
    assert told == "ConditionResult=no\n"  # by which the doctor knows


def test_without_delegation_jobs_are_stopped_by_signals_and_everything_says_so(daemon: SplitDaemon) -> None:
    drop_in(daemon.system, "undelegated", "[Service]\nDelegate=no\n")
    daemon.start(*USER)
    with web_server(daemon) as web:
        _, tree = one_tree(daemon)
        suspending = daemon.ctl_json("idle")["suspending"]
        assert suspending["method"] == "signals"
        assert f"{GROUP} is not delegated to the launcher of jobs" in suspending["why"]
        with web.request():
            until(lambda: tree.states() == {"T"}, "the stop of every process")
        tree.goes_on()
        daemon.stop()
        assert tree.is_gone()


REACHED = """python3 -c '
import socket
for name, kind in (("control", 1), ("activity", 1), ("jobs", 5)):  # SOCK_STREAM, SOCK_SEQPACKET
    if socket.socket(socket.AF_UNIX, kind).connect_ex("/run/buttermilkd/" + name + ".sock") == 0:
        print("reaches", name)
'"""
"""What a job runs to see which of the daemon's sockets it may connect to."""
LOOK = f"""
[flows.look]
command = ["sh", "-c", '''
    cat /run/credentials/*/key /proc/[0-9]*/root/run/credentials/*/key /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n"
    ls -m /var/lib/buttermilkd
    touch /srv/refused /srv/allowed/made ~/kept
    echo "passed on: <$NOTIFY_SOCKET$LISTEN_FDS$INVOCATION_ID>"
    python3 -c "import socket; socket.create_server((\'127.0.0.1\', 0)); print(\'listens\')"
    {REACHED}
    echo \'"seen"\' >"$BUTTERMILK_RESULT"
''']
"""


def end_of(daemon: SplitDaemon, flow: str) -> tuple[JobView, str]:
    """One job of this flow that has ended, and what it printed."""
    job_id = f"{daemon.client.create(flow, records=['r']).batch_id}.1"
    until(lambda: daemon.client.job(job_id)["ended_at"], "the end")
    return daemon.client.job(job_id), b"".join(daemon.client.log(job_id)).decode()


def test_a_job_sees_neither_the_daemons_key_nor_its_ledger_nor_its_sockets_and_writes_where_it_may(
    daemon: SplitDaemon,
) -> None:
    system = daemon.system
    system.run("sh", "-c", "install -d -o buttermilk /srv/allowed && echo 5ecret >/run/key")
    drop_in(system, "allowed", "[Service]\nReadWritePaths=/srv/allowed\n")
    daemon.start(*USER, "LoadCredential=key:/run/key", "Environment=KEY=5ecret", flows=LOOK)
    key = f"/proc/{system.main_pid(daemon.unit)}/root/run/credentials/{daemon.unit}/key"
    same_user = ("setpriv", "--reuid=buttermilk", "--regid=buttermilk", "--clear-groups")
    assert system.run(*same_user, "cat", key) == "5ecret\n"  # which is what the unit of jobs has to prevent
    job, log = end_of(daemon, "look")
    assert (job["status"], job["result"]) == ("completed", "seen"), log
    assert "5ecret" not in log
    assert "\nscratch\n" in f"\n{log}"
    assert "passed on: <>" in log
    assert "listens" in log
    # They have the daemon's user, whom it lets do everything.
    assert "reaches" not in log
    assert "/srv/refused" in log
    assert system.file("/srv/allowed/made").exists()
    assert system.file("/var/cache/buttermilkd/kept").exists()


USE = f"""
[flows.use]
command = ["sh", "-c", '''
    touch /srv/study/made && cat /srv/study/of-a-group
    {REACHED}
''']
"""


def test_jobs_run_under_all_drop_ins_for_them_and_may_do_what_these_say(daemon: SplitDaemon) -> None:
    system = daemon.system
    system.run("sh", "-c", "getent group render || groupadd --system render")
    system.run("install", "-d", "-o", "buttermilk", "/srv/study")
    system.run(
        "sh",
        "-c",
        "cd /srv/study && echo seen >of-a-group && chgrp render of-a-group && chmod 640 of-a-group",
    )
    for name, file in drop_ins().items():
        if file.parent.name == f"{JOBS}.d":
            drop_in(system, name, file.read_text())
    daemon.start(*USER, flows=USE)
    job, log = end_of(daemon, "use")
    assert job["status"] == "completed", log
    assert log == "seen\nreaches control\nreaches activity\n"
    assert system.file("/srv/study/made").exists()


def test_the_units_are_in_order_and_their_exposure_is_low(daemon: SplitDaemon) -> None:
    system = daemon.system
    for name in UNITS:
        system.file(f"/run/shipped/{name}").parent.mkdir(exist_ok=True)
        system.file(f"/run/shipped/{name}").write_text(rendered(name))
    paths = [f"/run/shipped/{name}" for name in UNITS]
    assert system.run("sh", "-c", 'systemd-analyze verify --man=no "$@" 2>&1', "sh", *paths) == ""
    table = system.run(
        "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", paths[-1]
    )
    print(table.splitlines()[-1])  # noqa: T201 - the figure belongs into the output of the tests
    assert "Overall exposure level" in table
