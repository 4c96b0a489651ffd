"""Control groups, read from files that look like the kernel's."""

import os
from pathlib import Path

import pytest

from buttermilkd.cgroups import Group, Hierarchy, is_inside, membership, mount_points
from tests.parts import need

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "31 23 0:27 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n"
)
PART = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        (UNIFIED, [Path("/sys/fs/cgroup")]),
        (HYBRID, [Path("/sys/fs/cgroup/unified")]),
        (PART, []),
        ("30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", []),
    ],
)
def test_the_unified_hierarchy_is_found_where_it_is_mounted_whole(
    tmp_path: Path, mounts: str, found: list[Path]
) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(mounts)
    assert mount_points(file) == found
    assert mount_points(tmp_path / "missing") == []


def test_a_group_tells_what_its_files_say(tmp_path: Path) -> None:
    group = Group(tmp_path)
    (tmp_path / "cpu.stat").write_text("usage_usec 1234567\nuser_usec 1000000\n")
    (tmp_path / "cgroup.procs").write_text("17\n23\n")
    (tmp_path / "cpu.weight").write_text("100\n")
    (tmp_path / "cpu.idle").write_text("0\n")
    assert (group.cpu_seconds(), group.pids(), group.weight()) == (1.234567, [17, 23], 100)
    group.write("cpu.idle", "1")
    assert group.weight() == 0


def test_a_group_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    group = Group(tmp_path).child("gone")
    assert (group.read("x"), group.cpu_seconds(), group.pids(), group.weight()) == (None, None, [], None)
    with pytest.raises(OSError, match="No such file"):
        group.write("cgroup.freeze", "1")


def test_paths_and_groups_are_two_names_of_one_thing() -> None:
    hierarchy = Hierarchy(Path("/sys/fs/cgroup"))
    for path in ("/", "/system.slice/web.service"):
        assert hierarchy.path(hierarchy.group(path)) == path


def test_a_group_is_inside_of_itself_and_of_what_is_above() -> None:
    assert all(is_inside("/a/b", outer) for outer in ("/", "/a", "/a/b"))
    assert not any(is_inside("/a/b", outer) for outer in ("/a/b/c", "/a/bc", "/a/"))


def test_this_process_is_somewhere_and_one_that_does_not_exist_is_nowhere() -> None:
    need(Path("/proc/self/cgroup").exists(), "a kernel with control groups")
    found = membership("self")
    assert found is not None
    assert found == membership(os.getpid())
    assert membership(2**22 + 1) is None
