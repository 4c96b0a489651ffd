"""What is done to a daemon and its surroundings. Each fault takes a moment, and undoes what it can undo by itself."""

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from buttermilkd.errors import ButtermilkError
from buttermilkd.reports import Hello, Snapshot, encode
from tests.acceptance.program import until
from tests.chaos.harm import crowd, filled, write_whole
from tests.chaos.world import World

SPACE = 12 * 1024 * 1024
"""Bytes of the small disk on which the state lies."""
DAY = 86_400.0


class Faults:
    """All that can be done to one world, by a seeded chance. ``counts`` says how often each was done."""

    def __init__(self, world: World, random: Random, clock: Path | None, *, small_disk: bool) -> None:
        """``clock``: the file that says by how much the daemon's clock is wrong; None: it cannot be moved.

        ``small_disk``: the state lies on a small disk of its own, which may be filled.
        """
        self._world = world
        self._random = random
        self._clock = clock
        self._ahead = 0.0
        self.counts: Counter[str] = Counter()
        self.missing: list[str] = []
        """What cannot be done here, and why."""
        self._known: list[tuple[Callable[[], None], int]] = [
            (self.kill, 8),
            (self.kill_while_it_starts, 3),
            (self.kill_with_its_launcher, 2),
            (self.stop, 2),
            (self.flood_control, 2),
            (self.flood_activity, 2),
            (self.user, 4),
            (self.cancel, 3),
            (self.retry, 3),
            (self.reload, 2),
            (self.reload_badly, 2),
        ]
        self._add(self.fill_disk, 3, small_disk, "full disk: no small disk could be mounted (it takes root)")
        self._add(self.jump, 2, clock is not None, "clock jumps: libfaketime is not installed")
        if world.cloud is not None:
            self._known += [(self.empty_queue, 2), (self.hang_queue, 2), (self.cut_queue, 2)]

    def _add(self, fault: Callable[[], None], weight: int, possible: bool, why_not: str) -> None:
        if possible:
            self._known.append((fault, weight))
        else:
            self.missing.append(why_not)

    def inject(self) -> str:
        """Do one of them; its name."""
        faults, weights = zip(*self._known, strict=True)
        fault = self._random.choices(faults, weights)[0]
        name: str = fault.__name__.replace("_", " ")
        self.counts[name] += 1
        with suppress(ButtermilkError, OSError):  # whoever asks a daemon in trouble gets no answer
            fault()
        return name

    def _moment(self, longest: float) -> None:
        time.sleep(self._random.uniform(0, longest))

    # The daemon

    def kill(self) -> None:
        self._world.kill()
        self._moment(0.3)
        self._world.start()

    def kill_while_it_starts(self) -> None:
        self._world.kill()
        for _ in range(self._random.randint(1, 3)):
            self._world.daemon.begin()
            self._moment(0.6)
            self._world.kill()
        self._world.start()

    def kill_with_its_launcher(self) -> None:
        self._world.kill_with_its_launcher()

    def stop(self) -> None:
        if self._world.lives:
            self._world.stop()
        self._moment(0.3)
        self._world.start()

    def reload(self) -> None:
        self._world.configure(timeout=f"{self._random.randint(30, 90)}s")
        self._signal(signal.SIGHUP)

    def reload_badly(self) -> None:
        self._world.configure(spoilt=True)
        self._signal(signal.SIGHUP)
        self._moment(0.4)
        self._world.configure()

    def _signal(self, number: signal.Signals) -> None:
        if self._world.lives and self._world.daemon.process is not None:
            self._world.daemon.process.send_signal(number)

    # Its surroundings

    def fill_disk(self) -> None:
        with filled(self._world.ledger.with_name("filler")):
            self._moment(1.5)
            if self._random.random() < 0.3:
                self._world.kill()
                self._world.daemon.begin()  # which may fail
                self._moment(1.0)
        self.see_to_it_that_it_lives()

    def see_to_it_that_it_lives(self) -> None:
        """Start it where it has ended, as whoever looks after it does."""
        with suppress(subprocess.TimeoutExpired):
            assert self._world.daemon.process is not None
            self._world.daemon.process.wait(0.1)
        if not self._world.lives:
            self._world.dead()
            self._world.start()
        until(lambda: not self._world.lives or self._world.daemon.answers(), "an answer of the daemon")

    def jump(self) -> None:
        """The clock goes on from elsewhere: some seconds back, or up to a day ahead."""
        assert self._clock is not None
        self._ahead += self._random.choice([-3.0, 5.0, 600.0, 2 * DAY])
        write_whole(self._clock, f"{self._ahead:+f}")

    # Its queue

    def empty_queue(self) -> None:
        assert self._world.cloud is not None
        assert self._world.topic is not None
        self._world.topic.lose()
        self._world.cloud.kill()
        if self._random.random() < 0.5:
            self._moment(1.0)
            self._world.kill()
            self._world.daemon.begin()
        self._world.cloud.restart()
        self.see_to_it_that_it_lives()

    def hang_queue(self) -> None:
        assert self._world.cloud is not None
        self._world.cloud.stop()
        self._moment(3.0)
        self._world.cloud.cont()

    def cut_queue(self) -> None:
        self._world.wire.cut()
        self._moment(3.0)
        self._world.wire.mend()

    # People

    def user(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._world.daemon.activity))
            connection.sendall(encode(Hello("web", os.getpid(), "w1", "asgi", 60_000)))
            connection.sendall(encode(Snapshot(1, 1, 0, 1, 0.0)))
            self._moment(0.8)
            connection.sendall(encode(Snapshot(2, 0, 0, 1, 0.0)))

    def cancel(self) -> None:
        if self._world.expected:
            batch = self._random.choice(sorted(self._world.expected))
            self._world.work.note("cancelled", batch)
            self._world.daemon.client.cancel(batch)

    def retry(self) -> None:
        if self._world.expected:
            batch = self._random.choice(sorted(self._world.expected))
            with self._world.watch.lock:
                self._world.watch.look()
                self._world.work.note("retried", batch)
                self._world.daemon.client.retry(batch)

    def flood_control(self) -> None:
        with crowd(self._world.daemon.control) as connections:
            for connection in connections:
                with suppress(OSError):
                    connection.send(
                        self._random.choice(
                            [b"GET /v1/sta", b"\0" * 70_000, b"GET /v1/info HTTP/1.1\r\n\r\n"]
                        )
                    )
            self._moment(0.5)

    def flood_activity(self) -> None:
        line = encode(Snapshot(1, 0, 0, 0, 0.0))
        with crowd(self._world.daemon.activity) as connections:
            for connection in connections:
                with suppress(OSError):
                    connection.send(self._random.choice([line * 500, b"{" * 9_000, b"\xff\n" * 900]))
            self._moment(0.5)

    # The end

    def heal(self) -> None:
        """Undo all that is left; the clock stays where it is, since jobs may be due by it."""
        if self._world.cloud is not None:
            self._world.cloud.cont()
        self.see_to_it_that_it_lives()
