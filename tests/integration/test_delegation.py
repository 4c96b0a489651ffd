"""The control group that systemd has given to the daemon; here the test takes systemd's part."""

import json
import os
import subprocess
import sys
from pathlib import Path

from buttermilkd.cgroups import Group, Hierarchy
from buttermilkd.host.delegation import delegated
from tests.integration.job_groups import job_group
from tests.parts import need

DAEMON = """
import json, sys
from pathlib import Path
from buttermilkd.cgroups import Group, Hierarchy, membership
from buttermilkd.host.delegation import delegated
Group(Path(sys.argv[1])).write("cgroup.procs", "0")
with delegated(Hierarchy.find()) as found:
    jobs = found.jobs
    inside = jobs is not None and jobs.folder.is_dir()
    print(json.dumps([str(jobs.folder) if jobs else None, found.problem, inside, membership("self").group]))
"""


def asked_in(group: Group) -> tuple[str | None, str | None, bool, str]:
    """What a daemon that is started in this group is given."""
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(group.folder)], capture_output=True, text=True, check=True
    )
    jobs, problem, inside, where = json.loads(done.stdout)
    return jobs, problem, inside, where


def give_away(group: Group) -> None:
    os.setxattr(group.folder, "user.delegate", b"1")


def test_a_group_that_is_given_away_holds_one_for_the_daemon_and_one_for_jobs() -> None:
    with job_group() as group:
        give_away(group)
        jobs, problem, inside, where = asked_in(group)
        assert (jobs, problem, inside) == (str(group.folder / "jobs"), None, True)
        assert where.endswith(f"{group.folder.name}/daemon")
        assert not (group.folder / "jobs").exists()  # removed at the end


def test_a_daemon_that_was_started_in_a_group_below_uses_the_one_above() -> None:
    with job_group() as group:
        give_away(group)
        below = group.child("main")
        below.folder.mkdir()
        jobs, _, _, where = asked_in(below)
        assert jobs == str(group.folder / "jobs")
        assert where.endswith("/main")


def test_what_a_daemon_that_died_left_is_removed_first() -> None:
    with job_group() as group:
        give_away(group)
        (group.folder / "jobs" / "7").mkdir(parents=True)
        jobs, problem, *_ = asked_in(group)
        assert (jobs, problem) == (str(group.folder / "jobs"), None)


def test_other_processes_in_the_group_are_left_where_they_are() -> None:
    with job_group() as group, subprocess.Popen(["sleep", "1000"]) as other:
        give_away(group)
        group.write("cgroup.procs", str(other.pid))
        jobs, *_ = asked_in(group)
        assert jobs == str(group.folder / "jobs")
        assert other.pid in group.pids()
        other.kill()


def test_a_group_that_is_not_given_away_is_not_touched_however_much_this_user_may() -> None:
    with job_group() as group:
        jobs, problem, *_ = asked_in(group)
        assert jobs is None
        assert "is not delegated to this daemon (Delegate=yes in its unit)" in (problem or "")
        assert not any(one.is_dir() for one in group.folder.iterdir())


def test_a_machine_without_the_unified_hierarchy_says_so() -> None:
    with delegated(None) as found:
        assert (found.jobs, found.problem) == (None, "control groups of version 2 are not to be seen here")


def test_a_hierarchy_that_is_not_the_kernels_gives_nothing(tmp_path: Path) -> None:
    need(Path("/proc/self/cgroup").exists(), "a kernel with control groups")
    with delegated(Hierarchy(tmp_path)) as found:
        assert found.jobs is None
        assert found.problem
