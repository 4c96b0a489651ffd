"""A daemon as units of files, as they are installed: a service of ``Type=notify`` and a socket unit for its control socket."""

import json
import subprocess
from typing import Any

from buttermilkd.client import Client
from tests.systemd.patience import PATIENCE, until
from tests.systemd.services import PROGRAMS, SETTINGS
from tests.systemd.system import Systemd

_SERVICE = """
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart={programs}/buttermilkd --config /run/{name}.toml
ExecReload={programs}/buttermilkctl --config /run/{name}.toml reload
Sockets={name}.socket
RuntimeDirectory={name}
RuntimeDirectoryPreserve=yes
StateDirectory={name}
Restart=on-failure
RestartSec=100ms
RestartPreventExitStatus=78
KillMode=mixed
"""
_SOCKET = """
[Socket]
ListenStream=/run/{name}/control.sock
FileDescriptorName=control
SocketMode=0660
"""


class DaemonUnits:
    """The units of one daemon, which is not started yet."""

    def __init__(self, system: Systemd, name: str) -> None:
        self.system = system
        self.name = name
        self.service = f"{name}.service"
        self.socket = f"{name}.socket"
        self.client = Client(socket=system.file(f"/run/{name}/control.sock"))

    def install(self, *properties: str, socket: bool = False) -> None:
        """Write the units; the properties are lines of the service's, beside the usual ones."""
        text = _SERVICE.format(programs=PROGRAMS, name=self.name) + "\n".join(properties)
        if not socket:
            text = text.replace(f"Sockets={self.socket}\n", "")
        else:
            self._unit(self.socket, _SOCKET.format(name=self.name))
        self._unit(self.service, text)
        self.system.run("systemctl", "daemon-reload")

    def _unit(self, name: str, text: str) -> None:
        file = self.system.file(f"/run/systemd/system/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def write(self, flows: str = "", settings: str = SETTINGS) -> None:
        """Write the configuration."""
        self.system.file(f"/run/{self.name}.toml").write_text(f"{settings}\n{flows}\n")

    def systemctl(self, verb: str, unit: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [*self.system.entrance, "systemctl", verb, unit or self.service]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=PATIENCE,
            check=False,
        )

    def done(self, verb: str, unit: str | None = None) -> None:
        """Have it done; it must succeed."""
        done = self.systemctl(verb, unit)
        assert done.returncode == 0, done.stderr + self.system.log(self.service)

    def ctl(self, *arguments: str) -> subprocess.Popen[str]:
        """``buttermilkctl``, which goes on beside the test."""
        program = (str(PROGRAMS / "buttermilkctl"), "--socket", f"/run/{self.name}/control.sock")
        command = [*self.system.entrance, *program, *arguments, "--json"]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    def ctl_json(self, *arguments: str) -> Any:
        out, error = self.ctl(*arguments).communicate(timeout=PATIENCE)
        assert out, error
        return json.loads(out)

    def property(self, name: str) -> str:
        return self.system.property(self.service, name)

    def is_in(self, state: str) -> None:
        """Return once the service is in this state."""
        until(lambda: self.property("ActiveState") == state, f"{self.service} {state}")

    def remove(self) -> None:
        for unit in (self.socket, self.service):
            self.systemctl("stop", unit)
            self.systemctl("reset-failed", unit)
            self.system.file(f"/run/systemd/system/{unit}").unlink(missing_ok=True)
        self.system.run("systemctl", "daemon-reload")
