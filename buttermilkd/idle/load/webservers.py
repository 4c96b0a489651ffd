"""The control groups that web servers run in: what they used, and where their pressure is told."""

from collections.abc import Collection
from pathlib import Path

from buttermilkd.cgroups import Group, Hierarchy, Membership, is_inside


class WebServers:
    """Tells web servers apart from everything else, where control groups do."""

    def __init__(self, hierarchy: Hierarchy | None) -> None:
        self._hierarchy = hierarchy

    def groups(self, web: Collection[Membership]) -> list[Group]:
        """Their groups, none of which is within another; empty where any of them cannot be told apart."""
        paths = {server.group for server in web}
        if self._hierarchy is None or None in paths or "/" in paths:
            return []
        known = {path for path in paths if path is not None}
        outermost = [path for path in known if not any(is_inside(path, one) for one in known - {path})]
        return [self._hierarchy.group(path) for path in sorted(outermost)]

    def holds(self, group: Group, jobs: Membership | None) -> bool:
        """Whether our jobs run in this group too, as far as is known."""
        if jobs is None or jobs.group is None or self._hierarchy is None:
            return True
        return is_inside(jobs.group, self._hierarchy.path(group))

    def cpu_seconds(
        self, web: Collection[Membership], jobs: Membership | None, own: float | None
    ) -> float | None:
        """CPU time that they have used, without our jobs' ``own``; None where it cannot be told apart."""
        groups = self.groups(web)
        used = [group.cpu_seconds() for group in groups]
        if not groups or None in used:
            return None
        shared = any(self.holds(group, jobs) for group in groups)
        return sum(one for one in used if one is not None) - ((own or 0.0) if shared else 0.0)

    def pressure_files(
        self, web: Collection[Membership], jobs: Membership | None, resource: str
    ) -> list[Path]:
        """The files that tell of their waiting alone: of groups in which our jobs wait as well, none."""
        return [
            group.folder / f"{resource}.pressure" for group in self.groups(web) if not self.holds(group, jobs)
        ]
