"""Whether idle priority is proven to protect web servers, from how control groups divide the CPUs."""

from collections.abc import Mapping

import pytest

from buttermilkd.cgroups import Membership
from buttermilkd.idle.load.protection import protection
from buttermilkd.idle.policy.observations import Protection

WEB = "/system.slice/web.service"
DAEMON = "/system.slice/buttermilkd.service"
JOBS = f"{DAEMON}/jobs"


def proof(
    jobs: Membership | str, web: Membership | str, weights: Mapping[str, int] | None = None
) -> Protection:
    ours, theirs = (one if isinstance(one, Membership) else Membership(one) for one in (jobs, web))
    return protection(ours, [theirs], (weights or {}).get)


def test_a_service_as_good_as_weightless_beside_the_web_server_protects_it() -> None:
    weights = {"/system.slice": 100, WEB: 100, DAEMON: 1, JOBS: 0}
    assert proof(JOBS, WEB, weights) == Protection(
        proven=True,
        why=f"the jobs' group {DAEMON} has weight 1, the web server's {WEB} 100",
    )


@pytest.mark.parametrize(("weight", "proven"), [(5, True), (6, False), (100, False), (0, True)])
def test_a_twentieth_of_the_web_servers_weight_is_the_most(weight: int, proven: bool) -> None:
    weights = {"/system.slice": 100, WEB: 100, DAEMON: weight, JOBS: 0}
    assert proof(JOBS, WEB, weights).proven is proven


def test_an_idle_group_within_a_service_of_usual_weight_protects_nobody() -> None:
    weights = {"/system.slice": 100, WEB: 100, DAEMON: 100, JOBS: 0}
    found = proof(JOBS, WEB, weights)
    assert (found.proven, found.why) == (
        False,
        f"the jobs' group {DAEMON} has weight 100, the web server's {WEB} 100",
    )


def test_slices_count_where_the_paths_part_there() -> None:
    weights = {"/jobs.slice": 0, "/jobs.slice/b.service": 100, "/system.slice": 100, WEB: 100}
    assert proof("/jobs.slice/b.service", WEB, weights).why == "the jobs' group /jobs.slice is idle"
    weights["/jobs.slice"] = 100
    assert not proof("/jobs.slice/b.service", WEB, weights).proven


def test_groups_that_the_cpu_controller_does_not_reach_divide_nothing() -> None:
    undivided = Membership(WEB), Membership(JOBS)
    assert proof(undivided[1], undivided[0], {}).proven
    assert proof(JOBS, WEB, {"/system.slice": 100}).why == (
        "jobs are idle beside web servers in the group /system.slice"
    )


def test_one_shared_group_is_proof() -> None:
    assert proof(WEB, WEB, {"/system.slice": 100, WEB: 100}).proven


@pytest.mark.parametrize(
    ("ours", "theirs", "proven"), [(19, 0, True), (0, 0, False), (19, 10, False), (19, -5, True)]
)
def test_where_the_kernel_schedules_by_session_their_weights_count(
    ours: int,
    theirs: int,
    proven: bool,
) -> None:
    found = proof(Membership(DAEMON, None, ours), Membership(WEB, None, theirs))
    assert found == Protection(
        proven=proven, why=f"the session of jobs is at nice {ours}, the web server's at {theirs}"
    )


def test_a_session_that_cannot_be_seen_proves_nothing() -> None:
    assert not proof(Membership(DAEMON, None, 19), Membership(WEB)).proven


def test_a_cpu_controller_of_version_1_that_divides_them_proves_nothing() -> None:
    found = proof(Membership(DAEMON, "/jobs"), Membership(WEB, "/"))
    assert found.why == "the CPU controller of control groups is version 1"
    assert proof(Membership(DAEMON, "/"), Membership(WEB, "/")).proven
    assert proof(Membership(DAEMON, "/lxc", 0), Membership(WEB, "/lxc", 0)).proven


def test_jobs_above_the_web_servers_group_prove_nothing() -> None:
    weights = {"/system.slice": 100, WEB: 100}
    assert proof("/", WEB, weights).why == "jobs run above the web server's group /system.slice"


@pytest.mark.parametrize("jobs", [Membership(JOBS), Membership(JOBS, "/", 19)])
def test_a_web_server_out_of_sight_proves_nothing_and_the_reason_says_so(jobs: Membership) -> None:
    found = proof(jobs, Membership(None))
    assert (found.proven, found.why) == (False, "where the web server runs is not to be seen")


def test_a_machine_without_control_groups_of_version_2_says_so() -> None:
    found = proof(Membership(None), Membership(None))
    assert (found.proven, found.why) == (False, "control groups of version 2 are not to be seen")


def test_a_web_server_above_the_jobs_group_is_protected_by_an_idle_one() -> None:
    assert proof("/jobs", "/", {"/jobs": 0}).proven
    assert not proof("/jobs", "/", {"/jobs": 100}).proven


def test_the_one_web_server_that_is_not_protected_decides() -> None:
    weights = {"/system.slice": 100, WEB: 100, DAEMON: 1, "/system.slice/small.service": 10}
    servers = [Membership(WEB), Membership("/system.slice/small.service")]
    assert not protection(Membership(JOBS), servers, weights.get).proven


def test_without_any_web_server_there_is_nobody_to_protect() -> None:
    assert protection(Membership(JOBS), [], lambda _: None) == Protection(
        proven=False, why="no web server reports"
    )
