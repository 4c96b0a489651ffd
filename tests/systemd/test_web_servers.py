"""A web server beside the daemon, each a service: told apart by the control group that the kernel says it is in."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.parts import need
from tests.systemd.patience import until
from tests.systemd.services import DaemonService, WebServer, web_server
from tests.systemd.system import CHECKOUT

pytestmark = pytest.mark.needs_root

RULES = """
import json, sys
from dataclasses import asdict
from buttermilkd.cgroups import Hierarchy, membership
from buttermilkd.idle.load.protection import protection
hierarchy = Hierarchy.find()
jobs, web = (membership(pid) for pid in sys.argv[1:])
rules = protection(jobs, [web], lambda path: hierarchy.group(path).weight())
print(json.dumps({"jobs": asdict(jobs), "web": asdict(web), "rules": asdict(rules)}))
"""


def facts(daemon: DaemonService, web: WebServer) -> Any:
    """What decides on protection, looked up in the box by a process of its own, and what the rules make of it."""
    pids = (str(daemon.job()["pid"]), str(daemon.system.main_pid(web.unit)))
    return json.loads(daemon.system.run("env", f"--chdir={CHECKOUT}", sys.executable, "-c", RULES, *pids))


def test_its_pressure_and_its_use_of_the_cpus_are_measured_in_its_group(daemon: DaemonService) -> None:
    need(Path("/proc/pressure/cpu").exists(), "a kernel that tells of pressure (CONFIG_PSI)")
    daemon.start("User=nobody", "Delegate=yes")
    with web_server(daemon):
        daemon.client.create("tree", records=["r"])  # while something runs, the daemon looks every second
        until(lambda: "web servers" in daemon.signal("cpu pressure")["value"], "pressure on web servers")
        assert "web servers" in daemon.signal("io pressure")["value"]
        until(lambda: "%" in daemon.signal("others")["value"], "use of the CPUs by others")


@pytest.mark.parametrize("delegate", ["yes", "no"])
def test_what_is_said_of_protection_follows_from_how_the_kernel_divides_the_cpus_between_both(
    daemon: DaemonService, delegate: str
) -> None:
    daemon.start("User=nobody", f"Delegate={delegate}")
    with web_server(daemon) as web:
        daemon.client.create("tree", records=["r"])
        found = facts(daemon, web)
        shown = daemon.ctl_json("idle")["protection"]
        assert {key: shown[key] for key in ("proven", "why")} == found["rules"]
        jobs, server = found["jobs"], found["web"]
        if daemon.group.weight() is not None:
            assert not shown["proven"]
            assert "has weight 100" in shown["why"]
        elif jobs["v1_cpu"] != server["v1_cpu"]:
            assert not shown["proven"]
        elif jobs["v1_cpu"] in (None, "/") and server["session_nice"] is not None:
            assert (jobs["session_nice"], shown["proven"]) == (19, server["session_nice"] <= 5)
        else:
            assert shown["proven"]


def test_a_daemon_that_may_not_see_the_web_servers_process_proves_nothing(daemon: DaemonService) -> None:
    daemon.start("User=nobody", "Delegate=yes", "ProtectProc=invisible")
    with web_server(daemon):
        daemon.client.create("tree", records=["r"])
        until(lambda: daemon.signal("others")["state"] == "missing", "a word on what is not seen")
        protection = daemon.client.idle()["protection"]
        assert not protection["proven"]
        assert protection["why"] == "where the web server runs is not to be seen"
        assert "web servers" not in daemon.signal("cpu pressure")["value"]
