"""A web server that reports to a daemon which is stopped, killed and started again, and again."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, suppress
from statistics import quantiles
from typing import Any

from buttermilkd.errors import ButtermilkError
from tests.benchmarks import web
from tests.benchmarks.report import Report
from tests.benchmarks.served import serving
from tests.benchmarks.service import UNMOVED, Service, running, until
from tests.web_storm import Storm

APPLICATIONS = ("bare", "counted")
CONFIG = f'[idle]\nquiet_for = "1s"\nsettle_for = "100ms"\n{UNMOVED}'
Fate = Callable[[Service], Coroutine[Any, Any, None]]


async def fates(report: Report) -> None:
    """Latencies at a fixed rate, beside a daemon of each fate: with the middleware and without it, in turn."""
    rounds, seconds = report.pick((4, 5.0), (1, 4.0))
    latencies: dict[tuple[str, str], list[float]] = {
        (fate, app): [] for fate in FATES for app in APPLICATIONS
    }
    with running(CONFIG) as service, ExitStack() as stack:
        servers = {app: stack.enter_context(serving(app, service.activity)) for app in APPLICATIONS}
        turns = list(latencies)
        for _ in range(rounds):
            for fate, app in turns:
                async with meanwhile(FATES[fate], service):
                    latencies[fate, app] += [
                        1000 * one for one in await web.load(servers[app].port, seconds, 7)
                    ]
                until(service.answers, "the daemon's return")
            turns.reverse()
    rows = []
    for fate in FATES:
        cuts = {app: quantiles(latencies[fate, app], n=100, method="inclusive") for app in APPLICATIONS}
        bare, counted = cuts["bare"], cuts["counted"]
        figures = (
            bare[49],
            counted[49],
            counted[49] / bare[49],
            bare[98],
            counted[98],
            counted[98] / bare[98],
        )
        report.goal(
            f"p99 while the daemon {fate}, times without", cuts["counted"][98] / cuts["bare"][98], 1.05
        )
        rows.append([fate, *(f"{one:.2f}" for one in figures), f"{len(latencies[fate, 'counted']):,}"])
    report.show(
        f"latencies in milliseconds at {web.RATE:.0f} requests a second, {rounds} rounds of {seconds:.0f} s",
        ["the daemon", "p50 without", "with", "ratio", "p99 without", "with", "ratio", "answered"],
        rows,
        "goal: 1.05 times p99 at most",
    )


async def storm(report: Report) -> None:
    """Whether any request fails, and whether the counts are exact in the end."""
    requests, websockets = report.pick((40_000, 400), (10_000, 100))
    with running(CONFIG) as service, serving("counted", service.activity) as server:
        visitors = Storm(server.port)
        async with meanwhile(stopped, service), meanwhile(killed, service):
            await asyncio.gather(visitors.requests(requests), visitors.websockets(websockets))
        until(service.answers, "the daemon's return")
        total = 1 + requests + websockets  # the first found out whether the server was there
        until(lambda: _told(service) == [(0, 0, total)], "exact counts in the end")
        log = (service.folder / "log").read_text()
    report.show(
        "the daemon stopped, killed and restarted all the time",
        ["", "asked", "answered"],
        [
            ["requests", f"{requests:,}", f"{visitors.answered:,}"],
            ["websockets, opened and dropped", f"{websockets:,}", f"{visitors.upgraded:,}"],
        ],
        f"in the end the daemon knew of 0 requests, 0 websockets and {total:,} in total",
        f"connections that it refused: {log.count('closed a reporter')}",
    )


def _told(service: Service) -> list[tuple[int, int, int]]:
    try:
        reporters = service.client.status()["reporters"]
    except ButtermilkError:  # the listener of a daemon that was killed: the next one comes
        return []
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


FATES: dict[str, Fate] = {
    "is well": well,
    "is stopped and goes on": stopped,
    "is killed and restarted": killed,
}
