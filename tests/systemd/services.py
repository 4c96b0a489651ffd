"""The real daemon and a real web server, each a service of systemd and run by a user without privileges."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from buttermilkd.cgroups import Group
from buttermilkd.client import Client
from tests.systemd.patience import PATIENCE, until
from tests.systemd.system import CHECKOUT, DYNAMIC_USER, Systemd
from tests.unmoved import UNMOVED

PROGRAMS = Path(sys.executable).parent
SETTINGS = f"""
[daemon]
drain_timeout = "0s"
[idle]
quiet_for = "200ms"
settle_for = "100ms"
suspend_min = "0s"
other_cpu_busy = 1.0
other_cpu_clear = 0.99
{UNMOVED}
"""
TREE = """
[flows.tree]
on_busy = "suspend"
command = ["sh", "-c", '''
    sh -c 'env -i setsid sh -c "while :; do :; done" & while :; do :; done' &
    wait
''']
"""
"""Three generations, of which two use a CPU each; the last has a session of its own and no variables."""


class DaemonService:
    """A daemon that is not started yet. Its unit, its folders and its configuration are named for it."""

    def __init__(self, system: Systemd, name: str) -> None:
        self.system = system
        self.name = name
        self.unit = f"{name}.service"
        self.group = system.hierarchy.group(f"/system.slice/{self.unit}")
        self.client = Client(socket=system.file(self.socket("control")))

    def socket(self, name: str) -> str:
        """The path of one of its sockets, where it runs."""
        return f"/run/{self.name}/{name}.sock"

    def start(self, *properties: str, flows: str = TREE) -> None:
        """Return once it answers. The properties are those of its unit, beside its folders."""
        config = f"/run/{self.name}.toml"
        self.system.file(config).write_text(f"{SETTINGS}\n{flows}\n")
        folders = (f"RuntimeDirectory={self.name}", f"StateDirectory={self.name}")
        command = (str(PROGRAMS / "buttermilkd"), "--config", config)
        self.system.start(self.unit, *folders, *properties, command=command)
        until(lambda: self.answers() or not self.is_active(), "an answer of the daemon")
        assert self.is_active(), self.system.log(self.unit)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.client.socket)) == 0

    def is_active(self) -> bool:
        return self.system.property(self.unit, "ActiveState") == "active"

    def stop(self) -> None:
        self.system.stop(self.unit)

    def kill(self) -> None:
        """End the daemon itself, and nothing else, as a crash would."""
        self.system.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", self.unit)

    # What it says

    def ctl_json(self, *arguments: str) -> Any:
        """What ``buttermilkctl`` prints."""
        program = str(PROGRAMS / "buttermilkctl")
        return json.loads(self.system.run(program, "--socket", self.socket("control"), *arguments, "--json"))

    def signal(self, name: str) -> dict[str, Any]:
        """One signal of the idleness decision, as it is now."""
        return next(dict(one) for one in self.client.idle()["signals"] if one["name"] == name)

    def job(self, flow: str = "tree") -> dict[str, Any]:
        """The one job of this flow that executes, once it does."""
        return dict(
            until(
                lambda: [one for one in self.client.status()["running"] if one["flow"] == flow],
                f"a running job of {flow}",
            )[0]
        )

    # What the kernel says

    def path_of(self, pid: int) -> str:
        """Where a process is, seen from outside. Its number is that which it has there."""
        lines = self.system.file(f"/proc/{pid}/cgroup").read_text().splitlines()
        (path,) = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
        return path

    def place_of(self, pid: int) -> str:
        """The same, below the group of the service that jobs run in."""
        return self.path_of(pid).rpartition(self.group.folder.name)[2]

    def group_of(self, job: dict[str, Any]) -> Group:
        return Group(self.group.folder / self.place_of(job["pid"]).lstrip("/"))


_CLIENT = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", f"/hold?until={sys.argv[2]}")
connection.getresponse().read()
"""


class WebServer:
    """A web server that runs."""

    def __init__(self, system: Systemd, unit: str, port: int) -> None:
        self._system = system
        self._port = port
        self.unit = unit

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request that is in flight for as long as this lasts."""
        answer = f"/run/{self.unit}.answer"
        command = [*self._system.entrance, sys.executable, "-c", _CLIENT, str(self._port), answer]
        with subprocess.Popen(command, cwd="/") as client:
            try:
                yield
            finally:
                self._system.file(answer).touch()
                client.wait(PATIENCE)
                self._system.file(answer).unlink()


@contextmanager
def web_server(daemon: DaemonService) -> Iterator[WebServer]:
    """One that reports to this daemon, as a service beside it."""
    system, unit = daemon.system, f"web-of-{daemon.unit}"
    port = f"/run/{unit}.port"
    output = (f"StandardOutput=truncate:{port}", f"WorkingDirectory={CHECKOUT}")
    command = (sys.executable, "-m", "tests.acceptance.web_server", daemon.socket("activity"))
    system.start(unit, *DYNAMIC_USER, *output, command=command)
    try:
        until(lambda: daemon.client.status()["reporters"], "the web server's report")
        yield WebServer(system, unit, int(until(system.file(port).read_text, "the web server's port")))
    finally:
        system.stop(unit)
