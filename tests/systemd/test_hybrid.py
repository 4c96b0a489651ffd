"""Both versions of control groups side by side, as older systems boot: version 2 still freezes, version 1 has the CPUs."""

from collections.abc import Iterator

import pytest

from buttermilkd.cgroups import membership
from tests.systemd.box import booted
from tests.systemd.patience import until
from tests.systemd.services import DaemonService, web_server
from tests.systemd.tree import Tree, until_frozen

pytestmark = pytest.mark.needs_root


@pytest.fixture
def daemon() -> Iterator[DaemonService]:
    """A daemon in a box of its own, which is not started yet."""
    here = membership("self")
    if here is None or here.v1_cpu is None:
        pytest.skip("this machine has no CPU controller of version 1 for its boxes")
    with booted("--cgroup", "hybrid") as system:
        daemon = DaemonService(system, "daemon")
        yield daemon
        daemon.stop()


def test_jobs_are_frozen_where_version_1_divides_the_cpus_and_protection_is_not_proven(
    daemon: DaemonService,
) -> None:
    daemon.start("User=nobody", "Delegate=yes", "CPUWeight=1")
    assert daemon.ctl_json("idle")["suspending"]["method"] == "freezer"
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        tree, group = Tree(daemon), daemon.group_of(daemon.job())
        protection = daemon.client.idle()["protection"]
        assert not protection["proven"]
        assert protection["why"] == "the CPU controller of control groups is version 1"
        with web.request():
            until_frozen(group)
            assert tree.stands_still()
            daemon.stop()
            until(tree.is_gone, "the end of the tree")
