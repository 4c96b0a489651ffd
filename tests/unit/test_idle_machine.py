"""The machine's look at everything, over folders that look like control groups and pressure files."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from buttermilkd.cgroups import Hierarchy, Membership
from buttermilkd.config.idle import IdleSettings
from buttermilkd.idle.load.cpu import CpuMeter, Times
from buttermilkd.idle.load.machine import OWN_JOBS_RUN, PROTECTION_HOLDS, Machine
from buttermilkd.idle.load.pressure import NO_PRESSURE
from buttermilkd.idle.policy.observations import Load
from buttermilkd.testing import HandMovedClock

WEB = Membership("/system.slice/web.service")
DOCS = Membership("/system.slice/docs.service")
NOBODY: frozenset[Membership] = frozenset()


@dataclass
class Jobs:
    """Our own jobs, as the test wants them."""

    method: str = ""
    seconds: float | None = None
    place: Membership | None = field(default_factory=lambda: Membership("/system.slice/b.service/jobs"))
    running: bool = False
    asked: int = 0
    """How often their times were asked for."""

    def cpu_seconds(self) -> float | None:
        self.asked += 1
        return self.seconds

    def membership(self) -> Membership | None:
        return self.place

    def are_running(self) -> bool:
        return self.running


class Scene:
    """A machine of two CPUs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = HandMovedClock()
        self.jobs = Jobs()
        self.used = 100.0
        self.groups = folder / "cgroup"
        self.system = folder / "pressure"
        self.groups.mkdir()
        self.system.mkdir()
        self.machine = Machine(
            self.clock,
            self.jobs,
            IdleSettings(),
            hierarchy=Hierarchy(self.groups),
            cpu=CpuMeter(times=lambda: Times(self.used, 0.0), cpus=2),
            system=self.system,
        )

    def group(self, member: Membership, **files: str) -> None:
        folder = self.groups / (member.group or "").lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)

    def use(self, member: Membership, seconds: float) -> None:
        self.group(member, cpu_stat=f"usage_usec {round(seconds * 1e6)}\n")

    async def look(self, seconds: float, web: frozenset[Membership] = NOBODY, *, used: float = 0.0) -> Load:
        await self.clock.advance(seconds)
        self.used += used
        return self.machine.look(1, web)


def pressure(average: float) -> str:
    return f"some avg10={average:.2f} avg60=0.00 avg300=0.00 total=0\nfull avg10={average / 2:.2f} total=0\n"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_where_nothing_can_be_read_everything_is_missing_but_cpu_and_memory(scene: Scene) -> None:
    load = await scene.look(1)
    assert (
        load.cpu_pressure.missing == load.io_pressure.missing == load.memory_pressure.missing == NO_PRESSURE
    )
    assert load.memory_available.value is not None
    assert load.average is not None
    assert (await scene.look(1, used=0.5)).foreign.value == 0.25


async def test_a_look_right_after_another_counts_no_process_again(scene: Scene) -> None:
    first = await scene.look(1)
    assert (await scene.look(0.1, used=0.2)).foreign == first.foreign
    assert scene.jobs.asked == 1
    await scene.look(0.9)
    assert scene.jobs.asked == 2


async def test_pressure_is_that_of_the_web_servers_own_groups_and_the_worst_of_them(scene: Scene) -> None:
    scene.group(WEB, cpu_pressure=pressure(3), io_pressure=pressure(0))
    scene.group(DOCS, cpu_pressure=pressure(8), io_pressure=pressure(0))
    (scene.system / "cpu").write_text(pressure(50))
    scene.jobs.running = True
    load = await scene.look(1, frozenset({WEB, DOCS}))
    assert (load.cpu_pressure.value, load.cpu_pressure.subject) == (0.08, "web servers")
    assert load.io_pressure.value == 0.0


async def test_the_whole_machines_pressure_counts_only_while_none_of_our_jobs_counts_in_it(
    scene: Scene,
) -> None:
    (scene.system / "io").write_text(pressure(12))
    assert (await scene.look(1)).io_pressure.value == 0.12
    scene.jobs.running = True
    assert (await scene.look(1)).io_pressure.missing == OWN_JOBS_RUN
    scene.jobs.running = False
    assert (await scene.look(10)).io_pressure.missing == OWN_JOBS_RUN
    assert (await scene.look(1)).io_pressure.value is not None


async def test_memory_pressure_is_the_whole_machines_and_of_the_kind_that_stops_everything(
    scene: Scene,
) -> None:
    (scene.system / "memory").write_text(pressure(12))
    scene.jobs.running = True
    assert (await scene.look(1)).memory_pressure.value == 0.06


async def test_a_group_in_which_our_jobs_run_too_has_no_pressure_of_its_own(scene: Scene) -> None:
    scene.jobs.place = Membership("/system.slice/web.service/jobs")
    scene.group(WEB, cpu_pressure=pressure(40))
    assert (await scene.look(1, frozenset({WEB}))).cpu_pressure.missing == NO_PRESSURE


async def test_others_are_all_but_our_jobs_and_the_web_servers(scene: Scene) -> None:
    web = frozenset({WEB, DOCS})
    scene.use(WEB, 5)
    scene.use(DOCS, 5)
    scene.jobs.seconds = 1
    await scene.look(1, web)
    scene.use(WEB, 5.3)
    scene.use(DOCS, 5.1)
    scene.jobs.seconds = 1.6
    load = await scene.look(1, web, used=1.2)
    assert load.foreign.value == pytest.approx(0.3)
    assert load.others.value == pytest.approx(0.1)


async def test_our_jobs_are_taken_out_of_a_group_that_they_share_with_a_web_server(scene: Scene) -> None:
    web = frozenset({WEB})
    scene.jobs.place = WEB
    scene.jobs.seconds = 1
    scene.use(WEB, 5)
    await scene.look(1, web)
    scene.use(WEB, 6)
    scene.jobs.seconds = 1.7
    load = await scene.look(1, web, used=1.1)
    assert load.foreign.value == pytest.approx(0.2)
    assert load.others.value == pytest.approx(0.05)


@pytest.mark.parametrize("member", [Membership(None), Membership("/")])
async def test_web_servers_that_cannot_be_told_apart_leave_others_unknown(
    scene: Scene, member: Membership
) -> None:
    scene.use(WEB, 5)
    web = frozenset({WEB, member})
    await scene.look(1, web)
    assert (await scene.look(1, web)).others.missing is not None


async def test_groups_within_one_another_are_counted_once(scene: Scene) -> None:
    inner = Membership("/system.slice/web.service/worker")
    web = frozenset({WEB, inner})
    scene.use(WEB, 5)
    scene.use(inner, 5)
    await scene.look(1, web)
    scene.use(WEB, 5.5)
    scene.use(inner, 5.5)
    assert (await scene.look(1, web, used=0.6)).others.value == pytest.approx(0.05)


async def test_protection_is_looked_up_again_when_web_servers_change_and_now_and_then(scene: Scene) -> None:
    web = frozenset({WEB})
    slice_ = Membership("/system.slice")
    service = Membership("/system.slice/b.service")
    scene.group(slice_, cpu_weight="100\n")
    scene.group(WEB, cpu_weight="100\n")
    scene.group(service, cpu_weight="1\n")
    assert scene.machine.protection(web).proven
    scene.group(service, cpu_weight="100\n")
    assert scene.machine.protection(web).proven
    assert scene.machine.protection(NOBODY).why == "no web server reports"
    assert not scene.machine.protection(web).proven
    scene.group(service, cpu_weight="1\n")
    await scene.clock.advance(PROTECTION_HOLDS + 1)
    assert scene.machine.protection(web).proven


async def test_jobs_that_cannot_be_placed_are_not_proven_to_spare_anybody(scene: Scene) -> None:
    scene.jobs.place = None
    found = scene.machine.protection(frozenset({WEB}))
    assert (found.proven, found.why) == (False, "where jobs run is not to be seen")
