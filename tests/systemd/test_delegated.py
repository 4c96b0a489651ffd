"""With ``Delegate=yes`` jobs have control groups of their own: they are counted, frozen and killed as wholes."""

import pytest

from tests.systemd.patience import until
from tests.systemd.services import DaemonService, web_server
from tests.systemd.system import DYNAMIC_USER
from tests.systemd.tree import Tree, members, until_frozen

pytestmark = pytest.mark.needs_root

NOBODY = ("User=nobody", "Delegate=yes")


@pytest.mark.parametrize("user", [("User=nobody",), DYNAMIC_USER], ids=["nobody", "dynamic"])
def test_jobs_have_groups_beside_the_daemons_and_the_kernel_counts_what_they_use(
    daemon: DaemonService, user: tuple[str, ...]
) -> None:
    daemon.start(*user, "Delegate=yes")
    assert daemon.ctl_json("idle")["suspending"] == {"method": "freezer", "why": None}
    assert daemon.place_of(daemon.system.main_pid(daemon.unit)) == "/daemon"
    daemon.client.create("tree", records=["a", "b"])
    running = until(lambda: jobs if len(jobs := daemon.client.status()["running"]) == 2 else None, "jobs")
    assert {daemon.place_of(job["pid"]) for job in running} == {"/jobs/1", "/jobs/2"}
    assert daemon.group.pids() == []

    def used() -> str | None:
        value = str(daemon.signal("cpu")["value"])
        return None if value.startswith("not known") or "own jobs 0 %" in value else value

    assert "estimated" not in until(used, "use of the CPUs by jobs")


def test_a_whole_tree_is_frozen_while_a_request_is_in_flight_and_goes_on_afterwards(
    daemon: DaemonService,
) -> None:
    daemon.start(*NOBODY)
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        tree, group = Tree(daemon), daemon.group_of(daemon.job())
        assert sorted(group.pids()) == sorted(tree.pids)
        with web.request():
            until_frozen(group)
            assert tree.stands_still()
            assert "T" not in tree.states()
            assert daemon.job()["suspended_at"] is not None
        until_frozen(group, frozen=False)
        tree.goes_on()


def test_a_frozen_job_can_be_cancelled(daemon: DaemonService) -> None:
    daemon.start(*NOBODY)
    with web_server(daemon) as web:
        batch = daemon.client.create("tree", records=["r"]).batch_id
        tree, group = Tree(daemon), daemon.group_of(daemon.job())
        with web.request():
            until_frozen(group)
            receipt = daemon.client.cancel(batch)
            assert (receipt["stopped"], receipt["killed"]) == (1, 0)
            until(tree.is_gone, "the end of the tree")
            until(lambda: not group.folder.exists(), "the end of its group")


def test_nothing_of_a_frozen_job_survives_the_service(daemon: DaemonService) -> None:
    daemon.start(*NOBODY)
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        tree, group = Tree(daemon), daemon.group_of(daemon.job())
        with web.request():
            until_frozen(group)
            daemon.stop()
            assert tree.is_gone()
            assert not members(daemon.group)


def test_nothing_of_a_frozen_job_survives_the_daemons_sudden_death_even_without_systemds_help(
    daemon: DaemonService,
) -> None:
    daemon.start(*NOBODY, "KillMode=process")
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        tree, group = Tree(daemon), daemon.group_of(daemon.job())
        with web.request():
            until_frozen(group)
            daemon.kill()
            until(tree.is_gone, "the end of the tree")
            until(lambda: not members(daemon.group), "the end of everything")


def test_what_was_frozen_when_the_daemon_died_runs_again_under_the_next_one(daemon: DaemonService) -> None:
    daemon.start(*NOBODY, "Restart=always", "RestartSec=0")
    with web_server(daemon) as web:
        batch = daemon.client.create("tree", records=["r"]).batch_id
        first, group = Tree(daemon), daemon.group_of(daemon.job())
        with web.request():
            until_frozen(group)
            daemon.kill()
            until(first.is_gone, "the end of the tree")
        second = Tree(daemon)
        assert sorted(daemon.group_of(daemon.job()).pids()) == sorted(second.pids)
        assert daemon.client.job(f"{batch}.1")["interruptions"] == 1
