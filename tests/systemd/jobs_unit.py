"""The jobs' own units as they are shipped, and a daemon of the tests' own whose launcher is in them."""

from pathlib import Path

import buttermilkd
from tests.systemd.services import PROGRAMS, DaemonService
from tests.systemd.system import Systemd, places

SHIPPED = Path(buttermilkd.__file__).with_name("systemd")
JOBS = "buttermilkd-jobs.service"
SOCKET = "buttermilkd-jobs.socket"
UNITS = ("buttermilkd.slice", SOCKET, JOBS)
GROUP = f"/buttermilkd.slice/{JOBS}"
USER = ("User=buttermilk", "Group=buttermilk", "RuntimeDirectoryPreserve=yes", "StateDirectoryMode=0750")
SANDBOX = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=tmpfs",
    "PrivateTmp=yes",
    *(f"BindReadOnlyPaths={one}" for one in places()),
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=no",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
)
"""What a daemon can do without, beside jobs in a unit of their own."""
_INSTALLED = "/run/systemd/system"
_REACHABLE = "\n".join(
    ["[Service]", "ProtectHome=tmpfs", *(f"BindReadOnlyPaths={one}" for one in places()), ""]
)
"""What the tests run from is in somebody's home, or in a /tmp that is not the service's own."""


def rendered(name: str) -> str:
    """A unit as it is installed for the programs of this environment."""
    return (SHIPPED / name).read_text().replace("@bin@", str(PROGRAMS))


def install(system: Systemd) -> None:
    """Have systemd know the units, and listen for the daemon; nothing else is started."""
    system.run("systemd-sysusers", "--inline", 'u buttermilk - "buttermilkd" /var/lib/buttermilkd')
    for name in UNITS:
        system.file(f"{_INSTALLED}/{name}").write_text(rendered(name))
    drop_in(system, "reachable", _REACHABLE)
    system.run("systemctl", "restart", SOCKET)


def drop_in(system: Systemd, name: str, text: str, unit: str = JOBS) -> None:
    """Change the service of the jobs, or another of their units, from its next start on."""
    folder = system.file(f"{_INSTALLED}/{unit}.d")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text(text)
    system.run("systemctl", "daemon-reload")


def remove(system: Systemd) -> None:
    """Stop the units and forget them."""
    for unit in (SOCKET, JOBS):
        system.stop(unit)
    system.run("sh", "-c", f"rm -rf {_INSTALLED}/buttermilkd* /run/buttermilkd /var/lib/buttermilkd")
    system.run("systemctl", "daemon-reload")


class SplitDaemon(DaemonService):
    """A daemon whose jobs are in a unit of their own; ``group`` is that of this unit."""

    def __init__(self, system: Systemd) -> None:
        super().__init__(system, "buttermilkd")
        self.group = system.hierarchy.group(GROUP)

    @property
    def launcher(self) -> int:
        """Its pid there; 0 where none runs."""
        return self.system.main_pid(JOBS)
