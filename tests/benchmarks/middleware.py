"""What the middleware costs a web server: throughput, its own time, how soon the daemon knows, and its import."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter  # noqa: TID251 - benchmarks measure real time
from typing import Any
from urllib.request import urlopen

from buttermilkd.clock import SystemClock
from buttermilkd.host.sockets import listening
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.web.asgi import ActivityMiddleware
from buttermilkd.web.reporter import REPORTERS
from tests.benchmarks.report import Report
from tests.benchmarks.served import CONNECTIONS, load, serving
from tests.benchmarks.table import say
from tests.benchmarks.upheaval import fates, storm

BARE, LAYERED, COUNTED = "without the middleware", "with a layer that does nothing", "with the middleware"
MIDDLEWARE = "with activity_middleware among its middlewares"
FRAMEWORKS = {
    "uvicorn, a trivial ASGI application": {BARE: "bare", LAYERED: "layered", COUNTED: "counted"},
    "FastAPI under uvicorn": {BARE: "fastapi", COUNTED: "fastapi-counted"},
    "aiohttp": {
        BARE: "aiohttp",
        LAYERED: "aiohttp-layered",
        MIDDLEWARE: "aiohttp-middleware",
        COUNTED: "aiohttp-counted",
    },
}
"""What is compared, and which application of ``served`` it is."""
SECONDS = 0.4
UNSEEN = 1.0
"""Seconds after which a request's beginning is read of no more."""
CALLS = 20_000


@asynccontextmanager
async def daemon_end(folder: Path) -> AsyncIterator[ActivityServer]:
    """The part of the daemon that reporters meet, in this process."""
    with listening(folder / "activity.sock", 0o666) as listener:
        server = ActivityServer(listener, SystemClock())
        serving = asyncio.ensure_future(server.run())
        try:
            yield server
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


async def throughput(report: Report, folder: Path) -> None:
    """Requests a second by each framework."""
    for title, names in FRAMEWORKS.items():
        await _throughput(report, folder, title, names)


async def _throughput(report: Report, folder: Path, title: str, names: dict[str, str]) -> None:
    """Requests a second of each, several processes of each, one after the other in changing order."""
    processes, rounds = report.pick((4, 8), (2, 4))
    rates: dict[str, list[float]] = {name: [] for name in names}
    costs: dict[str, list[float]] = {name: [] for name in names}
    async with daemon_end(folder):
        with ExitStack() as stack:
            servers = [
                (name, stack.enter_context(serving(served, folder / "activity.sock")))
                for _ in range(processes)
                for name, served in names.items()
            ]
            for _ in range(rounds):
                for name, server in servers:
                    cpu = server.cpu()
                    answers = await asyncio.to_thread(load, server.port, SECONDS)
                    rates[name].append(answers / SECONDS)
                    costs[name].append(1e6 * (server.cpu() - cpu) / max(1, answers))
                servers.reverse()
    base, base_cost = median(rates[BARE]), median(costs[BARE])
    rows = []
    for name in names:
        rate, cost = median(rates[name]), median(costs[name])
        rows.append([name, f"{rate:,.0f}", f"{rate / base:.3f}", f"{cost:.1f}", f"{cost / base_cost:.3f}"])
    report.show(
        f"{title}: {processes} processes of each, {rounds} rounds of {SECONDS} s, {CONNECTIONS} connections",
        ["", "requests/s", "times without", "CPU µs a request", "times without"],
        rows,
        "medians; goal: 0.99 times the requests/s without",
    )
    report.samples[f"requests/s, {title}"] = rates
    report.goal(f"requests/s, times without, {title}", median(rates[COUNTED]) / base, 0.99, at_least=True)


async def own_time(report: Report, folder: Path) -> None:
    """Microseconds a request, from driving the application in a loop, with a daemon that listens."""
    scope = {"type": "http", "path": "/", "method": "GET", "headers": []}

    async def nothing(*_: Any) -> None:
        """Neither a server nor a client."""

    async def application(_scope: Any, _receive: Any, _send: Any) -> None:
        """Neither an application."""

    def calls(app: Any) -> float:
        began = perf_counter()
        for _ in range(CALLS):
            with suppress(StopIteration):
                app(scope, nothing, nothing).send(None)
        return (perf_counter() - began) / CALLS

    async with daemon_end(folder):
        plain = ActivityMiddleware(application, socket=folder / "activity.sock", app="bench")
        choosy = ActivityMiddleware(
            application, exclude=["/healthz", "/static/*"], socket=folder / "activity.sock", app="bench"
        )
        names = {"without": application, "with it": plain, "with it, and paths to exclude": choosy}
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(50):
            for name, app in names.items():
                times[name].append(await asyncio.to_thread(calls, app))
        await asyncio.to_thread(REPORTERS.close)
    base = median(times["without"])
    report.show(
        f"own time: 50 rounds of {CALLS:,} calls",
        ["", "µs a request", "more than without"],
        [[name, f"{1e6 * median(t):.2f}", f"{1e6 * (median(t) - base):.2f}"] for name, t in times.items()],
        "goal: 1 µs more",
    )
    report.goal("own time of a request", 1e6 * (median(times["with it"]) - base), 1, unit="µs")


async def edges(report: Report, folder: Path) -> None:
    """From the call of the application to the moment at which the daemon has read that it was called."""
    count = report.pick(200, 60)
    latencies: list[float] = []
    async with daemon_end(folder) as daemon:
        read_at = asyncio.get_running_loop().create_future()

        def note() -> None:
            if any(one.requests for one in daemon.observe().reporters) and not read_at.done():
                read_at.set_result(monotonic())

        with serving("stamped", folder / "activity.sock") as server:
            daemon.on_change = note
            for _ in range(count):
                await asyncio.sleep(0.12)
                read_at = asyncio.get_running_loop().create_future()
                called_at = float(await asyncio.to_thread(_get, server.port))
                with suppress(TimeoutError):
                    latencies.append(1000 * (await asyncio.wait_for(read_at, UNSEEN) - called_at))
    cuts = quantiles(latencies, n=100, method="inclusive")
    report.show(
        f"edge: {count} requests after quiet, in milliseconds until the daemon has read of them",
        ["", "p50", "p99", "most"],
        [["edge", f"{cuts[49]:.2f}", f"{cuts[98]:.2f}", f"{max(latencies):.2f}"]],
        "goal: p50 under 5",
        f"{count - len(latencies)} were not seen: their end was read at the same moment as their beginning",
    )
    report.goal("a request after quiet is read of, p50", cuts[49], 5, unit="ms")


def _get(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/") as answer:
        return bytes(answer.read())


def imports(report: Report) -> None:
    """What importing it adds to an interpreter that has nothing yet, and to one that has a web server."""
    times_each = report.pick(20, 8)
    rows = []
    for name, before in (("a bare interpreter", "pass"), ("after uvicorn", "import uvicorn")):
        program = f"{before}\nfrom time import perf_counter\nbegan = perf_counter()\nimport buttermilkd.web.asgi\nprint(perf_counter() - began)"
        command = [sys.executable, "-c", program]
        times = [
            1000 * float(subprocess.run(command, check=True, capture_output=True).stdout)
            for _ in range(times_each)
        ]
        rows.append([name, f"{median(times):.1f}", f"{min(times):.1f}"])
        report.goal(
            f"import in {name}" if before == "pass" else f"import {name}", median(times), 30, unit="ms"
        )
    report.show(f"import, {times_each} times, in milliseconds", ["", "p50", "least"], rows, "goal: 30")


def main(report: Report) -> None:
    """Print all of it."""
    say(f"# {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as name:
        for measure in (throughput, own_time, edges):
            asyncio.run(measure(report, Path(name)))
    imports(report)
    asyncio.run(fates(report))
    asyncio.run(storm(report))
