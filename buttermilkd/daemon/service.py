"""The daemon's run: its services side by side, until a signal, and then the drain."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from buttermilkd import __version__
from buttermilkd.bell import first_of
from buttermilkd.clock import SystemClock
from buttermilkd.config.settings import Settings
from buttermilkd.control.services import Services
from buttermilkd.daemon import story, upkeep
from buttermilkd.daemon.assembly import opened
from buttermilkd.host.journal.sender import Sender
from buttermilkd.host.lifeline import Lifeline, held_by_others
from buttermilkd.journal import Kind, about
from buttermilkd.plurals import count

logger = logging.getLogger(__name__)


async def run(
    settings: Settings,
    *,
    record: Path | None = None,
    lifeline: Path | None = None,
    journal: Sender | None = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT, then drain. A second signal gives back at once what runs.

    ``record`` is a file to which what decides on idleness is appended; ``lifeline`` one of which somebody holds a
    lock for as long as the daemon is needed; ``journal`` is what jobs print into.

    Raises:
        ConflictError, StorageError, MisconfiguredError: it cannot start; the message says what mends it.
    """
    logger.info(
        "buttermilkd %s starts, with its ledger in %s",
        __version__,
        settings.daemon.state_dir,
        extra=about(kind=Kind.STARTED),
    )
    stop = asyncio.Queue[signal.Signals](maxsize=2)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _note, stop, number)
    async with AsyncExitStack() as stack:
        needed = None if lifeline is None else stack.enter_context(held_by_others(lifeline, SystemClock()))
        services = await stack.enter_async_context(opened(settings, SystemClock(), record, journal))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        named = {
            "activity": services.activity.server.run(),
            "probes": services.activity.probing.run(),
            "idleness": services.gate.run(),
            "runner": services.runner.run(),
            "suspension": services.suspension.run(),
            "queue": services.queue.run(),
            "dispatcher": services.dispatcher.run(),
            "gate events": upkeep.record_transitions(services),
            "idle history": upkeep.keep_history(services),
            "batches": story.tell_batches(services.ledger),
            "demand": upkeep.watch_demand(services),
            "stopped batches": upkeep.finish_stops(services),
        }
        if services.recorder is not None:
            named["recorder"] = services.recorder.run()
        if needed is not None:
            named["lifeline"] = _stop_unneeded(needed, stop)
        running = [
            tasks.create_task(_supervised(name, service), name=name) for name, service in named.items()
        ]
        flows = count(len(settings.flows), "flow")
        logger.info("buttermilkd %s is ready: %s", __version__, flows, extra=about(kind=Kind.READY))
        await _drained(services, stop)
        for task in reversed(running):
            task.cancel()
    logger.info("stopped", extra=about(kind=Kind.STOPPED))


def _note(stop: "asyncio.Queue[signal.Signals]", number: signal.Signals) -> None:
    if not stop.full():
        stop.put_nowait(number)


async def _stop_unneeded(lifeline: Lifeline, stop: "asyncio.Queue[signal.Signals]") -> None:
    """End the daemon as a signal would once nobody holds the lifeline any more."""
    await lifeline.released()
    logger.info("nobody needs this daemon any more: nobody holds its lifeline")
    _note(stop, signal.SIGTERM)
    await asyncio.get_running_loop().create_future()


async def _supervised(name: str, service: Coroutine[Any, Any, None]) -> None:
    """A service that ends, for whatever reason, ends the daemon, and is named."""
    try:
        await service
    except Exception:
        logger.critical("the %s service has died; stopping", name, extra=about(kind=Kind.SERVICE_DIED))
        raise
    raise RuntimeError(f"the {name} service has ended by itself")


async def _drained(services: Services, stop: "asyncio.Queue[signal.Signals]") -> None:
    number = await stop.get()
    running = count(len(services.dispatcher.running), "job runs", "jobs run")
    patience = services.settings.daemon.drain_timeout
    logger.info(
        "stopping on %s: %s, waiting up to %.0f s",
        number.name,
        running,
        patience,
        extra=about(kind=Kind.STOPPING),
    )

    services.suspension.drain()

    async def hurry() -> None:
        await stop.get()
        await services.dispatcher.drain(0.0)

    await first_of([services.dispatcher.drain(patience), hurry()])
