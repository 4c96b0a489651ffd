"""Servers that cannot be changed, looked at from outside: a real nginx, real connections."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from buttermilkd.idle.policy.observations import Reporter
from buttermilkd.idle.probes.base import Probe, ProbeFailedError, Seen
from buttermilkd.idle.probes.nginx import NginxProbe
from buttermilkd.idle.probes.ports import PortProbe
from buttermilkd.idle.probes.probing import Probing
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.integration.nginx import Nginx, nginx
from tests.integration.runner_host import until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nginx]:
    with nginx(tmp_path) as server:
        await until_answered(server)
        yield server


async def looked(probe: Probe) -> tuple[int, int]:
    seen = await probe.look()
    return seen.open, seen.total


async def test_what_it_asks_nginx_itself_counts_for_nothing(server: Nginx) -> None:
    probe = NginxProbe(server.status)
    for _ in range(5):
        assert await probe.look() == Seen(0, 0, used=False)


async def test_requests_between_two_looks_are_counted_and_seen(server: Nginx) -> None:
    probe = NginxProbe(server.status)
    await probe.look()
    for _ in range(3):
        await asyncio.to_thread(server.get)
    assert await probe.look() == Seen(0, 3, used=True)
    assert await probe.look() == Seen(0, 3, used=False)


async def test_a_request_that_is_in_flight_is_seen_until_it_is_answered(server: Nginx) -> None:
    probe = NginxProbe(server.status)
    await probe.look()
    asking = asyncio.ensure_future(asyncio.to_thread(server.get, "/slow"))
    client, _ = await asyncio.to_thread(server.behind.accept)
    with client:
        assert await looked(probe) == (1, 1)
        assert await looked(probe) == (1, 1)
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\ndone")
    await asking
    assert await looked(probe) == (0, 1)


async def test_a_connection_that_is_kept_open_for_later_is_nobody(server: Nginx) -> None:
    probe = NginxProbe(server.status)
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536)
        assert (await probe.look()).open == 0


async def test_a_restarted_nginx_counts_anew(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with nginx(tmp_path / "one") as first:
        probe = NginxProbe(first.status)
        for _ in range(4):
            await settled(probe)
    with pytest.raises(ProbeFailedError, match="Connect"):
        await probe.look()
    (tmp_path / "two").mkdir()
    with nginx(tmp_path / "two") as second:
        probe._url = second.status
        await until_answered(second)
        for _ in range(2):
            await asyncio.to_thread(second.get)
        assert (await probe.look()).used
        assert await probe.look() == Seen(0, probe._total, used=False)


async def until_answered(server: Nginx) -> None:
    def answers() -> bool:
        with suppress(OSError), server.connect():
            return True
        return False

    await until(answers)


async def settled(probe: NginxProbe) -> None:
    """Look until it answers."""
    while True:
        with suppress(ProbeFailedError):
            await probe.look()
            return
        await asyncio.sleep(0.01)


async def test_a_page_that_is_another_one_says_so(server: Nginx) -> None:
    with pytest.raises(ProbeFailedError, match="is no page of stub_status"):
        await NginxProbe(f"http://127.0.0.1:{server.port}/").look()
    with pytest.raises(ProbeFailedError, match="answers 502 Bad Gateway"):
        await unanswered(server)


async def test_a_redirection_is_not_followed_since_it_would_count(server: Nginx) -> None:
    with pytest.raises(ProbeFailedError, match=r"answers 301 Moved Permanently to http://.*/nginx_status"):
        await NginxProbe(f"http://127.0.0.1:{server.port}/moved").look()


async def unanswered(server: Nginx) -> None:
    looking = asyncio.ensure_future(NginxProbe(f"http://127.0.0.1:{server.port}/slow").look())
    client, _ = await asyncio.to_thread(server.behind.accept)
    client.close()
    await looking


# Ports


_HERE = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((_HERE[request.param], 0), family=request.param)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 ({error})")
    with listener:
        yield listener


async def test_whoever_is_connected_to_a_port_is_seen_for_as_long_as_that_lasts(
    listener: socket.socket,
) -> None:
    here = listener.getsockname()[:2]
    probe = PortProbe("jupyter", [here[1]])
    assert await looked(probe) == (0, 0)
    with socket.create_connection(here):
        assert await probe.look() == Seen(1, 1, used=True)
        with socket.create_connection(here):
            assert await looked(probe) == (2, 2)
        assert await probe.look() == Seen(1, 2, used=False)
    assert await looked(probe) == (0, 2)


async def test_connections_to_other_ports_and_from_this_machine_to_others_are_not(
    listener: socket.socket,
) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client:
        assert await looked(PortProbe("other", [client.getsockname()[1] ^ 1])) == (0, 0)


async def test_a_kernel_that_does_not_show_its_connections_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProbeFailedError, match=r"none: No such file or directory"):
        await PortProbe("ssh", [22], [tmp_path / "none"]).look()


# As reporters


class Scripted:
    """Sees what the test says."""

    kind = "port"

    def __init__(self, name: str = "ssh") -> None:
        self.name = self.target = name
        self.next: Seen | ProbeFailedError = Seen(0, 0, used=False)
        self.looks = 0

    async def look(self) -> Seen:
        self.looks += 1
        if isinstance(self.next, ProbeFailedError):
            raise self.next
        return self.next


@asynccontextmanager
async def probing(probe: Scripted, clock: HandMovedClock) -> AsyncIterator[Probing]:
    probing = Probing([probe], 2.0, clock)
    running = asyncio.ensure_future(probing.run())
    yield probing
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_what_is_seen_is_told_as_a_web_server_would_tell_it(clock: HandMovedClock) -> None:
    probe, told = Scripted(), []

    def reporter() -> Reporter:
        (one,) = seen.reporters()
        return one

    async with probing(probe, clock) as seen:
        seen.on_change = lambda: told.append(reporter().requests)
        assert not reporter().reported
        await clock.advance(2)
        assert reporter().reported
        assert reporter().active_at is None
        probe.next = Seen(2, 2, used=True)
        await clock.advance(2)
        began = clock.monotonic()
        await clock.advance(2)
        assert (reporter().requests, reporter().requests_since, reporter().active_at) == (
            2,
            began,
            clock.monotonic(),
        )
        probe.next = Seen(0, 2, used=False)
        await clock.advance(2)
        assert (reporter().requests, reporter().active_at) == (0, clock.monotonic() - 2)
        assert told == [0, 2, 0]


async def test_what_cannot_be_looked_at_is_not_known_and_told_once_in_the_log(
    clock: HandMovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    probe = Scripted()
    probe.next = ProbeFailedError("http://x: Connection refused")
    async with probing(probe, clock) as seen:
        await clock.advance(20)
        assert seen.reporters()[0].problem == "http://x: Connection refused"
        assert len(caplog.messages) == 1
        probe.next = Seen(0, 0, used=False)
        await clock.advance(2)
        assert seen.reporters()[0].problem == ""


async def test_other_probes_are_looked_at_at_once_and_those_that_stay_go_on(clock: HandMovedClock) -> None:
    stays, goes, comes = Scripted(), Scripted("goes"), Scripted("comes")
    stays.next = Seen(1, 1, used=True)
    async with probing(stays, clock) as seen:
        seen.reconfigure([stays, goes], 2.0)
        await settle_loop()
        assert goes.looks == 1
        known = seen.reporters()[0]
        told: list[None] = []
        seen.on_change = lambda: told.append(None)
        seen.reconfigure([Scripted(), comes], 60.0)
        assert told == [None]
        assert [one.app for one in seen.reporters()] == ["ssh", "comes"]
        assert seen.reporters()[0] == known
        await settle_loop()
        assert comes.looks == 1
        looks = stays.looks
        await clock.advance(59)
        assert (stays.looks, goes.looks) == (looks, 1)
        await clock.advance(1)
        assert stays.looks == looks + 1


async def test_where_there_is_nothing_to_probe_nothing_wakes_until_there_is() -> None:
    slept: list[float] = []

    class Counting(HandMovedClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            await super().sleep(seconds)

    comes, counting = Scripted(), Counting()
    async with probing(comes, counting) as seen:
        seen.reconfigure([], 2.0)
        await counting.advance(2)
        del slept[:]
        await counting.advance(600)
        assert slept == []
        looks = comes.looks
        seen.reconfigure([comes], 2.0)
        await settle_loop()
        assert comes.looks == looks + 1
