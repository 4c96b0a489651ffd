"""The scenes behind the golden traces. ``python -m tests.golden.scenes`` writes their files anew.

Each scene is what a daemon sees while one job of a flow with ``on_busy = "auto"`` would always run if it may.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from buttermilkd.config.idle import IdleSettings
from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.observations import Departure, Load, Measure, Protection, Reporter, Sample, Web
from buttermilkd.idle.trace import Encoder, Seen, Start, read
from buttermilkd.replay import Run

FOLDER = Path(__file__).parent
MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LONG_AGO = -7200.0


@dataclass
class Scene:
    """A web server of one process on a machine, which the scene moves on."""

    now: float = 0.0
    seen: list[tuple[float, Sample]] = field(default_factory=list)
    active_at: float = LONG_AGO
    requests_since: float | None = None
    websockets: int = 0
    heard_at: float | None = None
    """When it was heard last; None: just now."""
    reports: bool = True
    departure: Departure | None = None
    departed: float | None = None
    cpu: Measure = Measure(0.03)  # noqa: RUF009 - it is frozen
    others: Measure = Measure(0.01)  # noqa: RUF009
    own: float = 0.0
    memory: float = 0.6
    wall: float = 0.0
    """Seconds by which the wall clock was set forward."""
    protection: Protection = Protection(proven=False, why="the jobs' group has weight 100")  # noqa: RUF009

    def look(self, *, gap: float | None = None, jump: float | None = None) -> None:
        load = Load(self.now, self.cpu, self.own, self.others, memory_available=Measure(self.memory))
        local = MONDAY + timedelta(seconds=self.now + self.wall)
        sample = Sample(self._web(), load, local, gap=gap, jump=jump, protection=self.protection)
        self.seen.append((self.now, sample))

    def _web(self) -> Web:
        reporter = Reporter(
            app="api",
            pid=812,
            worker="w1",
            kind="asgi",
            heard_at=self.now if self.heard_at is None else self.heard_at,
            stale_after=3.0,
            idle_since=self.now if self.requests_since is not None else self.active_at,
            requests=int(self.requests_since is not None),
            websockets=self.websockets,
            total=1,
            requests_since=self.requests_since,
        )
        return Web((reporter,) if self.reports else (), self.departure, self.departed)

    def go_on(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Look each second; ``each`` is called before a look."""
        for _ in range(round(seconds)):
            self.now += 1
            each()
            self.look()

    def request(self, seconds: float) -> None:
        """A request that takes so long: the reporter tells of its begin and of its end at once."""
        self.requests_since = self.now
        self.look()
        self.now += seconds
        self.requests_since, self.active_at = None, self.now
        self.look()

    def message(self) -> None:
        """A user of a websocket says something."""
        self.active_at = self.now
        self.look()


def stray_bot() -> Scene:
    """One request by nobody in particular, in the middle of a quiet hour."""
    scene = Scene()
    scene.go_on(200)
    scene.request(0.25)
    scene.go_on(200)
    return scene


def health_probe() -> Scene:
    """A probe each minute that nobody has excluded: jobs never run, and it can be seen why."""
    scene = Scene()
    for _ in range(10):
        scene.go_on(60)
        scene.request(0.125)
    return scene


def lunch_gap() -> Scene:
    """People work, have lunch, and come back."""
    scene = Scene()
    for _ in range(6):
        scene.go_on(20)
        scene.request(0.5)
    scene.go_on(600)
    scene.request(0.5)
    scene.go_on(30)
    return scene


def forgotten_tab() -> Scene:
    """A websocket that stays open when its user has gone home."""
    scene = Scene()
    scene.go_on(130)
    scene.websockets = 1
    scene.message()
    scene.go_on(40)
    scene.message()
    scene.go_on(400)
    return scene


def crash_with_three_sockets() -> Scene:
    """The web server dies while three people are connected; nothing comes in its place for a while."""
    scene = Scene()
    scene.websockets = 3
    scene.message()
    scene.go_on(20)
    scene.reports = False
    scene.departure = Departure("api", scene.now, 0, 3)
    scene.look()
    scene.go_on(150)
    return scene


def rolling_restart() -> Scene:
    """A new process takes over from an old one which was last used an hour ago."""
    scene = Scene(active_at=-3600.0)
    scene.go_on(150)
    scene.departed = scene.active_at
    scene.look()
    scene.go_on(60)
    return scene


def hung_server() -> Scene:
    """The web server says nothing for half a minute, and then goes on as if nothing had been."""
    scene = Scene()
    scene.go_on(150)
    scene.heard_at = scene.now
    scene.go_on(30)
    scene.heard_at = None
    scene.go_on(60)
    return scene


def clock_jump() -> Scene:
    """The clock is set back a day; later the machine sleeps for an hour."""
    scene = Scene()
    scene.go_on(150)
    scene.wall -= 86_400.0
    scene.now += 1
    scene.look(jump=-86_400.0)
    scene.go_on(30)
    scene.wall += 3600.0
    scene.now += 1
    scene.look(jump=3600.0)
    scene.go_on(30)
    return scene


def fork_storm() -> Scene:
    """Somebody compiles: thousands of short processes, seen in the machine's counters alone."""
    scene = Scene()
    scene.go_on(150)
    shares = iter([0.9, 0.4, 0.95] + [0.92, 0.88, 0.97] * 20)

    def compile_() -> None:
        scene.cpu = Measure(next(shares, 0.9))

    scene.go_on(60, compile_)
    scene.cpu = Measure(0.04)
    scene.go_on(60)
    return scene


def own_job_at_full_load() -> Scene:
    """Our own jobs use all that is left: that is no reason to stop them."""
    scene = Scene(cpu=Measure(0.02, method="estimated from the processes' own times"))
    scene.go_on(130)
    scene.own = 0.98
    scene.go_on(120)
    return scene


def counter_reset() -> Scene:
    """A counter goes backwards, once while jobs run and once while they are suspended."""
    scene = Scene()
    scene.go_on(150)

    def lost() -> None:
        scene.cpu = Measure(problem="a counter went backwards")

    scene.go_on(1, lost)
    scene.cpu = Measure(0.9)
    scene.go_on(40)
    scene.go_on(1, lost)
    scene.cpu = Measure(0.9)
    scene.go_on(10)
    scene.cpu = Measure(0.02)
    scene.go_on(60)
    return scene


def memory_squeeze() -> Scene:
    """Memory runs short, recovers a little, and then for good."""
    scene = Scene()
    scene.go_on(150)
    for memory, seconds in ((0.08, 30), (0.12, 60), (0.5, 30), (0.14, 5), (0.5, 90)):
        scene.memory = memory
        scene.go_on(seconds)
    return scene


def people_on_a_protected_machine() -> Scene:
    """Where idle priority is proven to protect, jobs go on beside people, but not beside other work."""
    scene = Scene(protection=Protection(proven=True, why="the jobs' group is idle"))
    scene.go_on(150)
    scene.request(2.0)
    scene.go_on(20)

    def disturb() -> None:
        scene.cpu = scene.others = Measure(0.3)

    scene.go_on(5, disturb)
    scene.request(2.0)
    scene.go_on(70)
    return scene


SCENES: dict[str, Callable[[], Scene]] = {
    "stray-bot": stray_bot,
    "health-probe": health_probe,
    "lunch-gap": lunch_gap,
    "forgotten-tab": forgotten_tab,
    "crash-with-three-sockets": crash_with_three_sockets,
    "rolling-restart": rolling_restart,
    "hung-server": hung_server,
    "clock-jump": clock_jump,
    "fork-storm": fork_storm,
    "own-job-at-full-load": own_job_at_full_load,
    "counter-reset": counter_reset,
    "memory-squeeze": memory_squeeze,
    "people-on-a-protected-machine": people_on_a_protected_machine,
}


def trace_of(scene: Scene) -> str:
    """The scene as a daemon would record it."""
    encoder = Encoder(Start("golden", IdleSettings().written()), 0.0)
    return "".join(
        f"{line}\n" for line in [encoder.header, *(encoder.line(one, at) for at, one in scene.seen)]
    )


def decided(trace: str) -> str:
    """A line for each change of what is decided on a trace: when, what, why, and what the job does."""
    lines: list[str] = []
    before: tuple[str, str, bool] | None = None
    for look, runs in _looks(trace):
        now = look.verdict.state, look.verdict.cause, runs
        if now != before:
            job = "runs" if runs else "waits"
            lines.append(f"{look.at:8.2f}  {job:5}  {look.verdict.sentence}\n")
        before = now
    return "".join(lines)


def _looks(trace: str) -> Iterator[tuple[Look, bool]]:
    run: Run | None = None
    for one in read(trace.splitlines()):
        if isinstance(one, Seen):
            assert run is not None
            yield run.see(one), run.work.runs
        else:
            run = Run(IdleSettings(**one.settings))


def main() -> None:
    for name, scene in SCENES.items():
        trace = trace_of(scene())
        (FOLDER / f"{name}.jsonl").write_text(trace)
        (FOLDER / f"{name}.txt").write_text(decided(trace))


if __name__ == "__main__":
    main()
