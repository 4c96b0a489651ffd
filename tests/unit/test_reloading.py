"""Reloads, with a configuration that the test hands out and rooms that write down what they are told."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from buttermilkd.bell import Bell
from buttermilkd.config.in_force import InForce
from buttermilkd.config.load import load
from buttermilkd.config.settings import Settings
from buttermilkd.daemon.reload import Reloading, follow_signals
from buttermilkd.errors import MisconfiguredError, UnavailableError
from buttermilkd.testing import HandMovedClock, RecordingNotifier

BAD = MisconfiguredError(
    "cannot use the configuration: f:1: a: is wrong", problems=("f:1: a: is wrong", "f:2: b: is wrong")
)


class Scene:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.notifier = RecordingNotifier(HandMovedClock())
        self.in_force = InForce(self.settings(2))
        self.next: Settings | Exception = self.settings(2)
        self.told: list[int] = []
        self.threads: list[threading.Thread] = []
        """Those in which the rooms prepared, and changed over."""
        self.asked_for: list[str] = []
        self.stopping = False
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.reloading = Reloading(
            read=self._read,
            in_force=self.in_force,
            rooms=self._rooms,
            notifier=self.notifier,
            sentence=lambda: "idle for 3 s",
            stopping=lambda: self.stopping,
        )

    def settings(self, concurrency: int, host: str = "here") -> Settings:
        file = self._folder / "buttermilkd.toml"
        file.write_text(f'[daemon]\nconcurrency = {concurrency}\nhost = "{host}"\n')
        return load(file, {"HOME": str(self._folder)})

    def _read(self, queue: str) -> Settings:
        self.asked_for.append(queue)
        self.reading.set()
        self.go_on.wait()
        if isinstance(self.next, Exception):
            raise self.next
        return self.next

    def _rooms(self, settings: Settings) -> Callable[[], None]:
        self.threads.append(threading.current_thread())

        def change_over() -> None:
            self.threads.append(threading.current_thread())
            self.told.append(settings.daemon.concurrency)

        return change_over

    @property
    def words(self) -> list[str]:
        """The first word of each message to systemd."""
        return [next(iter(message)) for message in self.notifier.messages]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_good_configuration_is_in_force_and_every_room_works_by_it(scene: Scene) -> None:
    scene.next = scene.settings(5)
    told = await scene.reloading.reload()
    assert told["summary"] == ["daemon.concurrency: 2 → 5"]
    assert (scene.in_force.settings.daemon.concurrency, scene.told) == (5, [5])
    assert scene.asked_for == ["local"]
    assert scene.notifier.messages[-1] == {"READY": "1", "STATUS": "idle for 3 s"}
    assert scene.words == ["RELOADING", "READY"]


async def test_a_bad_one_changes_nothing_and_is_remembered_until_a_good_one_comes(scene: Scene) -> None:
    before = scene.in_force.settings
    scene.next = BAD
    with pytest.raises(MisconfiguredError):
        await scene.reloading.reload()
    assert scene.in_force.settings is before
    assert scene.told == []
    assert scene.in_force.problem == "f:1: a: is wrong (and 1 more problem)"
    assert scene.words == ["RELOADING", "READY"]
    scene.next = scene.settings(2)
    await scene.reloading.reload()
    assert scene.in_force.problem is None


async def test_rooms_prepare_off_the_loop_and_change_over_in_it(scene: Scene) -> None:
    await scene.reloading.reload()
    prepared, changed = scene.threads
    assert prepared is not threading.main_thread()
    assert changed is threading.main_thread()


async def test_what_needs_a_restart_is_remembered_and_the_rooms_do_not_hear_of_it(scene: Scene) -> None:
    scene.next = scene.settings(3, host="there")
    await scene.reloading.reload()
    assert scene.in_force.needs_restart == ("daemon.host",)
    assert scene.in_force.settings.daemon.host == "here"
    scene.next = scene.settings(3)
    await scene.reloading.reload()
    assert not scene.in_force.needs_restart


async def test_reloads_come_one_after_the_other(scene: Scene) -> None:
    scene.go_on.clear()
    scene.next = scene.settings(3)
    first = asyncio.ensure_future(scene.reloading.reload())
    await asyncio.to_thread(scene.reading.wait)
    second = asyncio.ensure_future(scene.reloading.reload())
    scene.go_on.set()
    assert (await first)["summary"] == ["daemon.concurrency: 2 → 3"]
    assert (await second)["summary"] == []
    assert scene.words == ["RELOADING", "READY", "RELOADING", "READY"]


async def test_a_daemon_that_stops_does_not_reload(scene: Scene) -> None:
    scene.stopping = True
    with pytest.raises(UnavailableError, match="the daemon is stopping"):
        await scene.reloading.reload()
    assert scene.words == []


async def test_a_stop_during_a_reload_is_not_taken_back(scene: Scene) -> None:
    scene.go_on.clear()
    reload = asyncio.ensure_future(scene.reloading.reload())
    await asyncio.to_thread(scene.reading.wait)
    scene.stopping = True
    scene.notifier.stopping("stopping")
    scene.go_on.set()
    await reload
    assert scene.words == ["RELOADING", "STOPPING"]


async def test_hangups_reload_whatever_came_of_the_last_one(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    hangups = Bell()
    hangups.ring()  # before anybody listens
    following = asyncio.ensure_future(follow_signals(hangups, scene.reloading))

    async def reloads(count: int) -> None:
        while scene.words.count("READY") < count:  # noqa: ASYNC110 - a thread reads in between
            await asyncio.sleep(0.001)

    await reloads(1)
    scene.next = BAD
    hangups.ring()
    await reloads(2)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "f:1: a: is wrong",
        "f:2: b: is wrong",
        "the configuration is bad: what was in force before stays so",
    ]
    scene.next = scene.settings(7)
    hangups.ring()
    await reloads(3)
    assert scene.told[-1] == 7
    following.cancel()
