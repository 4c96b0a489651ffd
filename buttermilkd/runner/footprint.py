"""Where our jobs run and what they use of the machine: what the idleness decision must not count as somebody's."""

from collections.abc import Callable
from dataclasses import replace

from buttermilkd.cgroups import Group, Hierarchy, Membership, membership
from buttermilkd.runner.launcher.processes import LOWEST_NICE
from buttermilkd.runner.launcher.usage import CountedUsage, CpuUsage, EstimatedUsage, Sessions


class Footprint:
    """Of all jobs together."""

    def __init__(
        self,
        groups: Callable[[], Group | None],
        launcher: Callable[[], int | None],
        *,
        are_running: Callable[[], bool],
        have_run: Callable[[], bool],
    ) -> None:
        """``groups`` gives the control group of all jobs; ``launcher`` the pid of the present launcher.

        ``have_run``: whether any job has executed since this was asked last.
        """
        self._groups = groups
        self._launcher = launcher
        self.are_running = are_running
        """Whether any executes, and is not suspended."""
        self._have_run = have_run
        self._sessions = Sessions()
        self._estimated = EstimatedUsage(self._sessions)
        self._counted: CountedUsage | None = None
        self._known: tuple[int | None, Membership | None] | None = None

    @property
    def _usage(self) -> CpuUsage:
        if self._counted is None and (group := self._groups()) is not None:
            self._counted = CountedUsage(group, self._sessions)
        return self._counted or self._estimated

    @property
    def method(self) -> str:
        """How CPU time is counted, where that is an estimate."""
        return self._usage.method

    def cpu_seconds(self) -> float | None:
        """CPU time of all job processes so far; None when nothing was ever started."""
        return self._usage.seconds(self._launcher(), running=self._have_run())

    def membership(self) -> Membership | None:
        """The control groups and the session that jobs run in, or would."""
        pid = self._launcher()
        if self._known is None or self._known[0] != pid:
            self._known = (pid, self._expected() if pid is None else membership(pid))
        return self._known[1]

    def _expected(self) -> Membership | None:
        """Before the first job: where the launcher will be."""
        found, hierarchy = membership("self"), Hierarchy.find()
        if found is None:
            return None
        group = self._groups()
        if group is not None and hierarchy is not None:
            found = replace(found, group=hierarchy.path(group))
        return found if found.session_nice is None else replace(found, session_nice=LOWEST_NICE)
