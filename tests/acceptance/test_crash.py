"""What a daemon's sudden death must not do: lose a job, repeat an ended one, or leave processes behind."""

import os
import signal
from collections import Counter

import psutil

from tests.acceptance.program import Daemon, processes_with, until

NOTING = """
[flows.note]
command = ["sh", "-c", 'echo "$BUTTERMILK_JOB_ID" >> begun; sleep 0.05; echo "$BUTTERMILK_JOB_ID" >> ended']
"""
TREE = """
[flows.tree]
command = ["sh", "-c", "setsid sleep 4321 & (sleep 4321 & sleep 4321) & sleep 4321; true"]
"""


def lines(daemon: Daemon, name: str) -> Counter[str]:
    path = daemon.folder / name
    return Counter(path.read_text().splitlines() if path.exists() else [])


def test_a_killed_daemon_loses_no_job_and_repeats_at_most_what_was_running(daemon: Daemon) -> None:
    daemon.write(NOTING)
    daemon.start()
    batch = daemon.client.create("note", records=[str(n) for n in range(60)]).batch_id
    kills = 3
    for kill in range(kills):
        until(lambda kill=kill: len(lines(daemon, "ended")) > 15 * kill, "some progress")  # type: ignore[misc]
        daemon.kill()
        daemon.start()
    view = daemon.ended(batch)
    assert (view["status"], view["completed"], view["total"]) == ("completed", 60, 60)
    begun = lines(daemon, "begun")
    assert len(begun) == 60
    assert begun.total() - 60 <= kills * 2
    jobs = daemon.jobs(batch)
    assert all(job["attempt"] == 1 for job in jobs)
    assert sum(job["interruptions"] for job in jobs) <= kills * 2


def test_no_process_of_a_job_survives_its_daemon(daemon: Daemon) -> None:
    daemon.write(TREE)
    daemon.start()
    daemon.client.create("tree", records=["a", "b"])
    until(lambda: len(processes_with(str(daemon.folder))) >= 2 + 2 * 5, "two trees of processes")
    daemon.kill()
    until(lambda: not processes_with(str(daemon.folder)), "the end of every process")


def test_a_daemon_started_at_once_after_a_crash_waits_until_the_old_jobs_are_gone(daemon: Daemon) -> None:
    daemon.write(TREE)
    daemon.start()
    batch = daemon.client.create("tree", records=["a"]).batch_id
    daemon.running(1)
    old = processes_with(f"BUTTERMILK_JOB_ID={batch}.1")
    daemon.kill()
    daemon.start()
    assert not [pid for pid in old if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110 - the name is no file of ours
    daemon.running(1)
    assert daemon.client.job(f"{batch}.1")["interruptions"] == 1


def test_what_a_daemon_and_its_launcher_left_that_died_together_is_ended_before_anything_runs_again(
    daemon: Daemon,
) -> None:
    daemon.write(TREE)
    daemon.start()
    batch = daemon.client.create("tree", records=["a"]).batch_id
    daemon.running(1)
    old = processes_with(f"BUTTERMILK_JOB_ID={batch}.1")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)  # so that it cannot see its launcher die
    (launcher,) = psutil.Process(daemon.process.pid).children()
    launcher.kill()
    daemon.kill()
    assert [pid for pid in old if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110 - the name is no file of ours
    daemon.start()
    daemon.running(1)
    assert not set(old) & set(processes_with(f"BUTTERMILK_JOB_ID={batch}.1"))
    assert daemon.client.job(f"{batch}.1")["interruptions"] == 1


def test_a_second_daemon_on_the_same_state_is_refused_and_told_the_first_ones_pid(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    second = daemon.launch()
    assert second.wait(30) == 1
    assert f"another buttermilkd (pid {daemon.process.pid}) uses" in daemon.log.read_text()
    assert daemon.client.info()["api"] == 1


def test_sigterm_lets_running_jobs_end(daemon: Daemon) -> None:
    daemon.write(
        '[flows.short]\ncommand = ["sh", "-c", "touch begun; while ! [ -e go ]; do sleep 0.02; done"]'
    )
    daemon.start()
    batch = daemon.client.create("short", records=["a", "b", "c"], concurrency=1).batch_id
    until((daemon.folder / "begun").exists, "the first job's start")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping on SIGTERM: 1 job" in daemon.log.read_text(), "the drain")
    (daemon.folder / "go").touch()
    assert daemon.process.wait(30) == 0
    daemon.start()
    view = daemon.ended(batch)
    assert (view["completed"], [job["interruptions"] for job in daemon.jobs(batch)]) == (3, [0, 0, 0])


def test_what_does_not_end_within_the_drain_timeout_is_given_back_without_costing_an_attempt(
    daemon: Daemon,
) -> None:
    daemon.write('[flows.long]\ncommand = ["sleep", "4321"]', daemon='drain_timeout = "200ms"')
    daemon.start()
    batch = daemon.client.create("long", records=["a"]).batch_id
    daemon.running(1)
    assert daemon.stop() == 0
    daemon.start()
    daemon.running(1)
    job = daemon.client.job(f"{batch}.1")
    assert (job["attempt"], job["interruptions"]) == (1, 0)


def test_a_second_signal_ends_the_wait_for_running_jobs(daemon: Daemon) -> None:
    daemon.write('[flows.long]\ncommand = ["sleep", "4321"]')
    daemon.start()
    daemon.client.create("long", records=["a"])
    daemon.running(1)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping on SIGTERM" in daemon.log.read_text(), "the drain")
    assert daemon.stop(signal.SIGINT) == 0
