"""A web server that reports to a daemon which is stopped, killed and started again, and again."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from statistics import quantiles
from typing import Any

from tests.benchmarks import web
from tests.benchmarks.served import serving
from tests.benchmarks.service import UNMOVED, Service, running, until
from tests.benchmarks.table import show
from tests.web_storm import Storm

SECONDS = 15.0
REQUESTS = 100_000
WEBSOCKETS = 1_000
CONFIG = f'[idle]\nquiet_for = "1s"\nsettle_for = "100ms"\n{UNMOVED}'
Fate = Callable[[Service], Coroutine[Any, Any, None]]


async def fates() -> None:
    """Latencies at a fixed rate, beside a daemon of each fate."""
    rows = []
    with running(CONFIG) as service, serving("bare", service.activity) as bare:
        with serving("counted", service.activity) as counted:
            for name, server, fate in (
                ("without the middleware", bare, well),
                ("with it, the daemon is well", counted, well),
                ("with it, the daemon is stopped and goes on", counted, stopped),
                ("with it, the daemon is killed and restarted", counted, killed),
                ("without the middleware, again", bare, well),
            ):
                async with meanwhile(fate, service):
                    latencies = await web.load(server.port, SECONDS, 7)
                cuts = quantiles(latencies, n=100)
                rows.append([name, f"{1000 * cuts[49]:.2f}", f"{1000 * cuts[98]:.2f}", f"{len(latencies):,}"])
    title = f"latencies in milliseconds at {web.RATE:.0f} requests a second, {SECONDS:.0f} s each"
    show(title, ["", "p50", "p99", "answered"], rows)


async def storm() -> None:
    """Whether any request fails, and whether the counts are exact in the end."""
    with running(CONFIG) as service, serving("counted", service.activity) as server:
        visitors = Storm(server.port)
        async with meanwhile(stopped, service), meanwhile(killed, service):
            await asyncio.gather(visitors.requests(REQUESTS), visitors.websockets(WEBSOCKETS))
        until(service.answers, "the daemon's return")
        total = 1 + REQUESTS + WEBSOCKETS  # the first found out whether the server was there
        until(lambda: _told(service) == [(0, 0, total)], f"exact counts, not {_told(service)}")
        log = (service.folder / "log").read_text()
    show(
        "the daemon stopped, killed and restarted all the time",
        ["", "asked", "answered"],
        [
            ["requests", f"{REQUESTS:,}", f"{visitors.answered:,}"],
            ["websockets, opened and dropped", f"{WEBSOCKETS:,}", f"{visitors.upgraded:,}"],
        ],
        f"in the end the daemon knew of 0 requests, 0 websockets and {total:,} in total",
        f"connections that it refused: {log.count('closed a reporter')}",
    )


def _told(service: Service) -> list[tuple[int, int, int]]:
    reporters = service.client.status()["reporters"]
    return [(one["requests"], one["websockets"], one["total"]) for one in reporters]


@asynccontextmanager
async def meanwhile(fate: Fate, service: Service) -> AsyncIterator[None]:
    """What happens to the daemon while this is entered; in the end it is well."""
    going_on = asyncio.ensure_future(fate(service))
    try:
        yield
    finally:
        going_on.cancel()
        with suppress(asyncio.CancelledError):
            await going_on


async def well(_service: Service) -> None:
    """Nothing happens to it."""


async def stopped(service: Service) -> None:
    try:
        while True:
            service.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(1)
            service.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.7)
    finally:
        service.process.send_signal(signal.SIGCONT)


async def killed(service: Service) -> None:
    try:
        while True:
            await asyncio.sleep(3)
            service.process.kill()
            await asyncio.to_thread(service.process.wait)
            _start(service)
    finally:
        if service.process.poll() is not None:
            _start(service)


def _start(service: Service) -> None:
    command = [sys.executable, "-m", "buttermilkd", "--config", str(service.folder / "b.toml")]
    with (service.folder / "log").open("ab") as log:
        service.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
