"""Control groups as the kernel shows them: where they are, who is in which, what they used. Version 2 only.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

_NICE = re.compile(r"nice (-?\d+)")
_MICROSECONDS = 1e6
_GIVEN_AWAY = ("user.delegate", "trusted.delegate")
"""Attributes of a group that systemd has given away."""
_CONTROLLERS = ("cpu", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Membership:
    """What decides on a process's share of the CPUs."""

    group: str | None
    """Its group in the unified hierarchy, such as ``/system.slice/web.service``; None where there is none."""
    v1_cpu: str | None = None
    """Its group in the CPU hierarchy of version 1, where that exists."""
    session_nice: int | None = None
    """The nice value of its session among sessions; None where the kernel does not schedule by session."""


def membership(pid: int | str) -> Membership | None:
    """The groups of a process (``self``: of this one); None where there is none or it may not be read."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    group = v1_cpu = None
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            group = path
        elif "cpu" in controllers.split(","):
            v1_cpu = path
    return Membership(group, v1_cpu, _session_nice(pid))


def _session_nice(pid: int | str) -> int | None:
    try:
        match = _NICE.search(Path(f"/proc/{pid}/autogroup").read_text())
        enabled = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    except OSError:
        return None
    return int(match[1]) if match and enabled else None


def mount_points(mounts: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """Where the unified hierarchy is mounted, seen from its root. Something else may have been mounted over it."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return []
    parts = [line.partition(" - ") for line in lines]
    places = [before.split(" ") for before, _, after in parts if after.startswith("cgroup2 ")]
    return [Path(place[4]) for place in places if place[3] == "/"]


@dataclass(frozen=True, slots=True)
class Group:
    """One group of the unified hierarchy."""

    folder: Path

    def read(self, name: str) -> str | None:
        """One of its files; None where it is not there or may not be read."""
        try:
            return (self.folder / name).read_text()
        except OSError:
            return None

    def write(self, name: str, value: str) -> None:
        """Raises OSError."""
        fd = os.open(self.folder / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def child(self, name: str) -> "Group":
        return Group(self.folder / name)

    def cpu_seconds(self) -> float | None:
        """CPU time of all processes that were ever in it or below; None where it is not told."""
        text = self.read("cpu.stat")
        if text is None or not text.startswith("usage_usec "):
            return None
        return int(text.split(None, 2)[1]) / _MICROSECONDS

    def pids(self) -> list[int]:
        """The processes in it, without those below it."""
        return [int(line) for line in (self.read("cgroup.procs") or "").split()]

    def weight(self) -> int | None:
        """Its share of the CPU among its siblings, 1 to 10,000, and 0 for idle; None: no CPU controller here."""
        text = self.read("cpu.weight")
        if text is None:
            return None
        return 0 if (self.read("cpu.idle") or "").strip() == "1" else int(text)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The unified hierarchy of this machine."""

    mount: Path

    @classmethod
    def find(cls) -> "Hierarchy | None":
        """None where it is not to be seen."""
        found = (mount for mount in mount_points() if (mount / "cgroup.controllers").exists())
        mount = next(found, None)
        return None if mount is None else cls(mount)

    def group(self, path: str) -> Group:
        """The group that a ``Membership`` names."""
        return Group(self.mount / path.lstrip("/"))

    def path(self, group: Group) -> str:
        """The other way round."""
        relative = group.folder.relative_to(self.mount)
        return f"/{relative}" if relative.parts else "/"


def is_inside(path: str, outer: str) -> bool:
    """Whether the group ``path`` is ``outer`` or below it."""
    return outer in ("/", path) or path.startswith(f"{outer}/")


def given_group(hierarchy: Hierarchy | None, taker: str, *, told: bool = False) -> Group | str:
    """The group that systemd has given to this process with ``Delegate=yes``, or why there is none.

    Only a marked one counts: root may write every group, and most belong to somebody else. A user's own systemd marks
    none; its unit tells of it instead (``told``). ``taker`` says in the reason who would have been given it.
    """
    here = membership("self")
    if hierarchy is None or here is None or here.group is None:
        return "control groups of version 2 are not to be seen here"
    group = hierarchy.group(here.group)
    candidate = next((one for one in (group, Group(group.folder.parent)) if _is_given_away(one)), None)
    if candidate is None and told:
        candidate = group
    if candidate is None:
        return f"the control group {here.group} is not delegated to {taker} (Delegate=yes in its unit)"
    if not os.access(candidate.folder / "cgroup.procs", os.W_OK):
        return f"the control group {hierarchy.path(candidate)} may not be written"
    return candidate


def _is_given_away(group: Group) -> bool:
    for name in _GIVEN_AWAY:
        with contextlib.suppress(OSError):
            if os.getxattr(group.folder, name) == b"1":
                return True
    return False


def share_controllers(group: Group) -> None:
    """Let the groups below this one be counted and limited, as far as the kernel grants it."""
    for controller in _CONTROLLERS:
        # Refused where it is not delegated, and while a process of somebody else is in the group.
        with contextlib.suppress(OSError):
            group.write("cgroup.subtree_control", f"+{controller}")
