"""Without ``Delegate=`` the daemon makes no control groups: jobs are stopped by signals, and everything says so."""

import pytest

from tests.systemd.patience import until
from tests.systemd.services import DaemonService, web_server
from tests.systemd.tree import Tree, members

pytestmark = pytest.mark.needs_root


def test_a_whole_tree_is_stopped_by_signals_while_a_request_is_in_flight_and_goes_on_afterwards(
    daemon: DaemonService,
) -> None:
    daemon.start("User=nobody")
    suspending = daemon.ctl_json("idle")["suspending"]
    assert suspending["method"] == "signals"
    assert f"{daemon.unit} is not delegated to this daemon (Delegate=yes in its unit)" in suspending["why"]
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        tree = Tree(daemon)
        assert daemon.place_of(daemon.job()["pid"]) == ""
        assert "estimated" in daemon.signal("cpu")["value"]
        with web.request():
            until(lambda: tree.states() == {"T"}, "the stop of every process")
            assert tree.stands_still()
        tree.goes_on()
        assert not any(one.is_dir() for one in daemon.group.folder.iterdir())


def test_nothing_of_a_stopped_job_survives_the_daemons_sudden_death_even_without_systemds_help(
    daemon: DaemonService,
) -> None:
    daemon.start("User=nobody", "KillMode=process")
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        tree = Tree(daemon)
        with web.request():
            until(lambda: tree.states() == {"T"}, "the stop of every process")
            daemon.kill()
            until(tree.is_gone, "the end of the tree")
            until(lambda: not members(daemon.group), "the end of everything")
