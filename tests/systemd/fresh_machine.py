"""What ``fresh-machine`` checks, once everything is installed: one line for each, and a status for all of them."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from buttermilkd.cgroups import Group
from tests.systemd.patience import until
from tests.systemd.services import TREE, DaemonService, WebServer, web_server
from tests.systemd.system import Systemd
from tests.systemd.tree import Tree, members, until_frozen

CONTROLLERS = {"cpu", "io", "memory", "pids"}
AUTO = """
[flows.auto]
on_busy = "auto"
command = ["sha256sum", "/dev/zero"]
"""


class Checks:
    """Prints what was found out, and keeps count of what should not be so."""

    def __init__(self) -> None:
        self.failed = 0

    def that(self, what: str, holds: object, seen: object = "") -> None:
        self.failed += not holds
        note = f" ({seen})" if seen else ""
        sys.stdout.write(f"{'ok  ' if holds else 'FAIL'}  {what}{note}\n")
        sys.stdout.flush()

    def comes(self, what: str, wait: Callable[[], object]) -> None:
        """That what is waited for comes."""
        try:
            wait()
        except TimeoutError as error:
            self.that(what, holds=False, seen=error)
        else:
            self.that(what, holds=True)


@contextmanager
def daemon(system: Systemd, weight: str) -> Iterator[DaemonService]:
    """One that runs, in a group of this weight."""
    service = DaemonService(system, f"buttermilkd-of-weight-{weight}")
    settings = ("User=nobody", "Delegate=yes", f"CPUWeight={weight}", "Restart=always", "RestartSec=0")
    try:
        service.start(*settings, flows=TREE + AUTO)
        yield service
    finally:
        service.stop()
        shutil.rmtree(system.file(f"/var/lib/{service.name}"), ignore_errors=True)
        system.file(f"/run/{service.name}.toml").unlink(missing_ok=True)


def delegation(checks: Checks, service: DaemonService) -> None:
    pid = service.system.main_pid(service.unit)
    checks.that("the daemon has no privileges", service.system.file(f"/proc/{pid}").stat().st_uid != 0)
    checks.that("it has moved below its unit's group", service.place_of(pid) == "/daemon")
    method = service.ctl_json("idle")["suspending"]["method"]
    checks.that("it suspends by the freezer", method == "freezer", method)
    given = (service.group.child("jobs").read("cgroup.controllers") or "").split()
    checks.that("its jobs have every controller", set(given) >= CONTROLLERS, " ".join(given))
    checks.that("their group is idle", service.group.child("jobs").weight() == 0)


def protection(checks: Checks, service: DaemonService, web: WebServer, weight: str) -> None:
    shown = until(
        lambda: p if (p := service.client.idle()["protection"])["why"] != "no web server reports" else None,
        "a word on protection",
    )
    ours, theirs = f"/system.slice/{service.unit}", f"/system.slice/{web.unit}"
    if weight == "idle":
        why = f"the jobs' group {ours} is idle"
    else:
        why = f"the jobs' group {ours} has weight {weight}, the web server's {theirs} 100"
    proven = weight != "100"
    checks.that(f"protection is {'' if proven else 'not '}proven", shown["proven"] is proven)
    checks.that("its reason names groups and weights", shown["why"] == why, shown["why"])


def yielding(checks: Checks, service: DaemonService, web: WebServer, *, auto_goes_on: bool) -> None:
    """What becomes of one job of each flow when somebody comes, and when the daemon dies."""
    for flow in ("tree", "auto"):
        service.client.create(flow, records=["r"])
    tree = Tree(service)
    suspended, auto = service.group_of(service.job("tree")), service.group_of(service.job("auto"))
    with web.request():
        checks.comes("a request freezes the job that shall be suspended", lambda: until_frozen(suspended))
        checks.that("no process of it uses a CPU", tree.stands_still())
        if auto_goes_on:
            checks.comes("the one that leaves it to the daemon goes on beside it", lambda: until_used(auto))
            checks.that("and is not suspended", service.job("auto")["suspended_at"] is None)
        else:
            checks.comes("so does the one that leaves it to the daemon", lambda: until_frozen(auto))
    checks.comes("it goes on when everybody has gone", tree.goes_on)
    service.kill()
    checks.comes("nothing survives the daemon's sudden death", lambda: until(tree.is_gone, "the end"))
    checks.comes("the next daemon runs the job again", lambda: Tree(service))
    checks.that("in a group of its own", service.group_of(service.job("tree")).folder.parent.name == "jobs")
    service.stop()
    checks.that("nothing survives the service", not members(service.group))


def until_used(group: Group) -> None:
    before = group.cpu_seconds() or 0.0
    until(lambda: (group.cpu_seconds() or 0.0) > before + 0.1, "use of a CPU")


def main() -> int:
    system = Systemd((), Path("/"))
    here = Path("/proc/self/cgroup").read_text().splitlines()
    controllers = (system.hierarchy.group("/").read("cgroup.controllers") or "").split()
    if len(here) != 1 or not CONTROLLERS.issubset(controllers):
        sys.stderr.write("error: cannot check this machine: it has not control groups of version 2 alone\n")
        return 2
    checks = Checks()
    for weight in ("1", "idle", "100"):
        sys.stdout.write(f"\nDelegate=yes CPUWeight={weight}, beside a web server of weight 100\n")
        try:
            with daemon(system, weight) as service:
                delegation(checks, service)
                with web_server(service) as web:
                    protection(checks, service, web, weight)
                    yielding(checks, service, web, auto_goes_on=weight != "100")
        except (AssertionError, TimeoutError) as error:
            checks.that("everything could be checked", holds=False, seen=error)
    sys.stdout.write(f"\n{checks.failed or 'none'} of these checks failed\n")
    return checks.failed > 0


if __name__ == "__main__":
    sys.exit(main())
