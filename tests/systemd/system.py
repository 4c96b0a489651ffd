"""A systemd, in a box or of a machine that is there for tests: what runs under it, and its files."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.cgroups import Hierarchy
from tests.systemd.patience import PATIENCE

CHECKOUT = Path(__file__).parents[2]
_SYSTEMS = Path("/usr")


def places() -> list[Path]:
    """What the daemon is made of, as far as it may be hidden from services: none of them is within another."""
    wanted = {CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)} - {_SYSTEMS}
    outer = {_SYSTEMS, *wanted}
    return sorted(place for place in wanted if outer.isdisjoint(place.parents))


DYNAMIC_USER = ("DynamicUser=yes", *(f"BindReadOnlyPaths={place}" for place in places()))
"""A user that exists while its service runs. It has a /tmp of its own, where a checkout in /tmp is missing."""


@dataclass(frozen=True, slots=True)
class Systemd:
    """One that has booted."""

    entrance: tuple[str, ...]
    """The beginning of a command line that runs a command there."""
    root: Path
    """Its files, as they are found from here. Those in ``proc`` go by the numbers that processes have there."""

    def file(self, path: str) -> Path:
        """The file of this absolute path there."""
        return self.root / path.lstrip("/")

    @property
    def hierarchy(self) -> Hierarchy:
        top = self.file("/sys/fs/cgroup")
        below = top / "unified"  # beside those of version 1
        return Hierarchy(below if below.exists() else top)

    def run(self, *command: str) -> str:
        """What the command prints, run by root; it must succeed."""
        done = subprocess.run(
            [*self.entrance, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, unit: str, *properties: str, command: tuple[str, ...]) -> None:
        """Have the command run as a service with these properties; return once it has begun."""
        options = ("--quiet", "--collect", "--service-type=exec", f"--unit={unit}")
        self.run("systemd-run", *options, *(f"--property={one}" for one in properties), "--", *command)

    def stop(self, unit: str) -> None:
        """Return once the service has ended, or is not known any more."""
        if self.property(unit, "LoadState") == "loaded":
            self.run("sh", "-c", 'systemctl stop "$1" 2>&1 || ! systemctl --quiet is-active "$1"', "sh", unit)

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def main_pid(self, unit: str) -> int:
        return int(self.property(unit, "MainPID"))

    def log(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")
