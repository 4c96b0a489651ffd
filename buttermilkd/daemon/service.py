"""The daemon's run: its services side by side, until a signal, and then the drain."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from buttermilkd import __version__
from buttermilkd.bell import Bell, first_of
from buttermilkd.clock import SystemClock
from buttermilkd.config.settings import Settings
from buttermilkd.control.services import Services
from buttermilkd.daemon import story, upkeep
from buttermilkd.daemon.assembly import Daemon, opened
from buttermilkd.daemon.foundations import Given
from buttermilkd.daemon.reload import follow_signals
from buttermilkd.daemon.retention import Retention
from buttermilkd.daemon.telling import extended
from buttermilkd.daemon.watchdog import Watchdog
from buttermilkd.host.lifeline import Lifeline, held_by_others
from buttermilkd.host.notifier import Notifier
from buttermilkd.journal import Kind, about
from buttermilkd.plurals import count

logger = logging.getLogger(__name__)


async def run(settings: Settings, given: Given, *, lifeline: Path | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT, then drain. A second signal gives back at once what runs.

    SIGHUP has it read its configuration anew. ``lifeline`` is a file of which somebody holds a lock for as long as
    the daemon is needed.

    Raises:
        ConflictError, StorageError, MisconfiguredError: it cannot start; the message says what mends it.
    """
    logger.info(
        "buttermilkd %s starts, with its ledger in %s",
        __version__,
        settings.daemon.state_dir,
        extra=about(kind=Kind.STARTED),
    )
    clock = SystemClock()
    stop = asyncio.Queue[signal.Signals](maxsize=2)
    hangups = Bell()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _note, stop, number)
    loop.add_signal_handler(signal.SIGHUP, hangups.ring)
    async with AsyncExitStack() as stack:
        needed = None if lifeline is None else stack.enter_context(held_by_others(lifeline, clock))
        daemon = await stack.enter_async_context(opened(settings, clock, given))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        named = _services(daemon, given.notifier, hangups)
        if needed is not None:
            named["lifeline"] = _stop_unneeded(needed, stop)
        running = [
            tasks.create_task(_supervised(name, service), name=name) for name, service in named.items()
        ]
        flows = count(len(settings.flows), "flow")
        logger.info("buttermilkd %s is ready: %s", __version__, flows, extra=about(kind=Kind.READY))
        given.notifier.ready(daemon.services.gate.verdict.sentence)
        await _drained(daemon, given.notifier, stop)
        for task in reversed(running):
            task.cancel()
    logger.info("stopped", extra=about(kind=Kind.STOPPED))


def _services(daemon: Daemon, notifier: Notifier, hangups: Bell) -> dict[str, Coroutine[Any, Any, None]]:
    """All that runs side by side, by name."""
    services = daemon.services
    named = {
        "activity": services.activity.server.run(),
        "connections": daemon.connections.run(),
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
        "retention": Retention(services.ledger, services.clock, lambda: services.settings.retention).run(),
        "stopped batches": upkeep.finish_stops(services),
        "reloading": follow_signals(hangups, daemon.reloading),
    }
    if services.recorder is not None:
        named["recorder"] = services.recorder.run()
    if daemon.output is not None:
        named["jobs' output"] = daemon.output.run()
    if notifier.listened:
        named["status line"] = daemon.status_line.run()
    if notifier.watchdog is not None:
        named["watchdog"] = Watchdog(
            notifier,
            notifier.watchdog,
            services.clock,
            writer=services.ledger.answers,
            ticked_at=lambda: services.gate.ticked_at,
        ).run()
    return named


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


async def _drained(daemon: Daemon, notifier: Notifier, stop: "asyncio.Queue[signal.Signals]") -> None:
    number = await stop.get()
    services = daemon.services
    running = count(len(services.dispatcher.running), "job runs", "jobs run")
    patience = services.settings.daemon.drain_timeout
    logger.info(
        "stopping on %s: %s, waiting up to %.0f s",
        number.name,
        running,
        patience,
        extra=about(kind=Kind.STOPPING),
    )
    daemon.status_line.stop()
    notifier.stopping(f"stopping: {running}, waiting up to {patience:.0f} s")
    services.suspension.drain()

    async def hurry() -> None:
        await stop.get()
        await services.dispatcher.drain(0.0)

    await extended(
        first_of([services.dispatcher.drain(patience), hurry()]),
        _draining(services, patience),
        notifier,
        services.clock,
    )


def _draining(services: Services, patience: float) -> Callable[[], object]:
    """What is another at each look for as long as the drain gets on.

    To wait for jobs is what it was told to do, up to ``patience`` and the time that they have to end. After that
    only what ends counts.
    """
    grace = max((flow.grace for _, flow in services.runner.executing()), default=0.0)
    until = services.clock.monotonic() + patience + grace

    def gets_on() -> object:
        now = services.clock.monotonic()
        return now if now < until else len(services.dispatcher.running)

    return gets_on
