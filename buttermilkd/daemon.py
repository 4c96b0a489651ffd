"""The one place that chooses adapters and owns lifetimes."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from buttermilkd import __version__
from buttermilkd.batches import Batches
from buttermilkd.bell import first_of
from buttermilkd.cgroups import Hierarchy
from buttermilkd.clock import Clock, SystemClock
from buttermilkd.config.settings import Settings
from buttermilkd.control import server
from buttermilkd.control.daemon import PAUSED
from buttermilkd.control.services import Services
from buttermilkd.dispatcher import Dispatcher
from buttermilkd.errors import ButtermilkError, MisconfiguredError
from buttermilkd.host.delegation import Delegation, delegated
from buttermilkd.host.instance import sole_instance
from buttermilkd.host.sockets import listening
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.idle.gate import Gate
from buttermilkd.idle.load.machine import Machine
from buttermilkd.ledger import Ledger
from buttermilkd.queues.base import Queue
from buttermilkd.queues.local import LocalQueue
from buttermilkd.retries import RetryLimits
from buttermilkd.runner import checks
from buttermilkd.runner.runner import Runner
from buttermilkd.suspension import Suspension
from buttermilkd.waiting import EVERYTHING

logger = logging.getLogger(__name__)

CONTROL_SOCKET = "control.sock"
ACTIVITY_SOCKET = "activity.sock"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the machine gave to this daemon."""

    lock: int
    """The descriptor of the lock on the state directory."""
    hierarchy: Hierarchy | None
    delegation: Delegation


async def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT, then drain. A second signal gives back at once what runs.

    Raises:
        ConflictError, StorageError, MisconfiguredError: it cannot start; the message says what mends it.
    """
    stop = asyncio.Queue[signal.Signals](maxsize=2)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _note, stop, number)
    async with opened(settings, SystemClock()) as services, asyncio.TaskGroup() as tasks:
        named = {
            "activity": services.activity.run(),
            "idleness": services.gate.run(),
            "runner": services.runner.run(),
            "suspension": services.suspension.run(),
            "dispatcher": services.dispatcher.run(),
            "gate events": _record_transitions(services),
            "demand": _watch_demand(services),
            "stopped batches": _finish_stops(services),
        }
        running = [
            tasks.create_task(_supervised(name, service), name=name) for name, service in named.items()
        ]
        logger.info("buttermilkd %s is ready: %d flows", __version__, len(settings.flows))
        await _drained(services, stop)
        for task in reversed(running):
            task.cancel()
    logger.info("stopped")


def _note(stop: "asyncio.Queue[signal.Signals]", number: signal.Signals) -> None:
    if not stop.full():
        stop.put_nowait(number)


async def _supervised(name: str, service: Coroutine[Any, Any, None]) -> None:
    """A service that ends, for whatever reason, ends the daemon, and is named."""
    try:
        await service
    except Exception:
        logger.critical("the %s service has died; stopping", name)
        raise
    raise RuntimeError(f"the {name} service has ended by itself")


async def _drained(services: Services, stop: "asyncio.Queue[signal.Signals]") -> None:
    number = await stop.get()
    running = len(services.dispatcher.running)
    patience = services.settings.daemon.drain_timeout
    logger.info("stopping on %s: %d jobs run, waiting up to %.0f s for them", number.name, running, patience)

    services.suspension.drain()

    async def hurry() -> None:
        await stop.get()
        await services.dispatcher.drain(0.0)

    await first_of([services.dispatcher.drain(patience), hurry()])


async def _record_transitions(services: Services) -> None:
    """Each opening and closing of the gate becomes an event, with its reasons."""
    gate, was = services.gate, None
    while True:
        seen = gate.changed.ring_count
        if gate.is_open != was:
            was = gate.is_open
            kind = "gate.opened" if was else "gate.closed"
            try:
                await services.ledger.record(kind, gate.verdict.sentence)
            except ButtermilkError as error:
                logger.error("cannot record that the gate has moved: %s", error)  # noqa: TRY400
        await gate.changed.heard(seen)


async def _finish_stops(services: Services) -> None:
    """Cancel what is left of batches that a failure stopped, beside everything else."""
    while True:
        seen = services.ledger.stops.ring_count
        try:
            await services.ledger.finish_stops()
        except ButtermilkError as error:
            logger.error("cannot cancel the rest of a stopped batch: %s", error)  # noqa: TRY400
        await services.ledger.stops.heard(seen)


async def _watch_demand(services: Services) -> None:
    """Tell the gate whether anything waits or runs: if not, it looks at the machine less often."""
    ledger = services.ledger
    while True:
        work, changes = ledger.work.ring_count, ledger.changes.ring_count
        try:
            depth = await services.queue.depth()
            services.gate.waiting = depth.pending + depth.running > 0
        except ButtermilkError as error:
            logger.error("cannot tell whether anything waits: %s", error)  # noqa: TRY400
        await first_of([ledger.work.heard(work), ledger.changes.heard(changes)])


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncIterator[Services]:
    """Everything that the daemon is made of, opened in order and closed in reverse.

    Raises:
        ConflictError, StorageError, MisconfiguredError: as ``run``.
    """
    paths, control = settings.daemon, settings.control
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(sole_instance(paths.state_dir))
        hierarchy = Hierarchy.find()
        delegation = stack.enter_context(delegated(hierarchy))
        ledger = await Ledger.open(paths.state_dir, clock, stack)
        await _recover(ledger, paths.max_interruptions)
        reports = listening(paths.runtime_dir / ACTIVITY_SOCKET, settings.activity.socket_mode)
        activity = ActivityServer(stack.enter_context(reports), clock)
        host = Surroundings(lock, hierarchy, delegation)
        services = _assembled(settings, clock, ledger, activity, host, stack)
        requests = listening(paths.runtime_dir / CONTROL_SOCKET, control.socket_mode, control.admin_groups)
        await server.serve(services, stack.enter_context(requests), stack)
        yield services


def _assembled(
    settings: Settings,
    clock: Clock,
    ledger: Ledger,
    activity: ActivityServer,
    host: Surroundings,
    stack: AsyncExitStack,
) -> Services:
    """The rooms, each given what it works with."""
    concurrency, flows = settings.daemon.concurrency, settings.flows
    scratch = settings.daemon.state_dir / "scratch"
    runner = Runner(
        flows,
        concurrency=concurrency,
        scratch=scratch,
        clock=clock,
        keep_fds=[host.lock],
        groups=host.delegation.jobs,
    )
    suspension = Suspension(runner, flows, clock, longest=settings.idle.suspend_max)
    machine = Machine(clock, runner.footprint, settings.idle, hierarchy=host.hierarchy)
    holds = [PAUSED] if EVERYTHING in ledger.holds else []
    gate = Gate(
        activity,
        machine,
        settings.idle,
        clock,
        concurrency=concurrency,
        jobs=suspension.jobs,
        holds=holds,
        listeners=[suspension.carry_out],
    )
    machine.watch_pressure(gate.look_again)
    stack.callback(machine.close)
    queue = _queue(settings, ledger, clock)
    dispatcher = Dispatcher(queue=queue, runner=runner, gate=gate, limits=_limits(settings), clock=clock)

    async def check(flow: str) -> str | None:
        return await asyncio.to_thread(checks.check, flows[flow])

    return Services(
        settings=settings,
        clock=clock,
        ledger=ledger,
        batches=Batches(flows=flows, check=check, ledger=ledger, dispatcher=dispatcher),
        dispatcher=dispatcher,
        queue=queue,
        runner=runner,
        gate=gate,
        suspension=suspension,
        activity=activity,
        check=check,
        delegation=host.delegation,
        host=socket.gethostname(),
        started_at=clock.now(),
    )


async def _recover(ledger: Ledger, most_interruptions: int) -> None:
    recovered = await ledger.recover(most_interruptions)
    if recovered.interrupted or recovered.failed:
        logger.warning(
            "the last daemon died: %d jobs are pending again, %d failed since they were interrupted too often",
            recovered.interrupted,
            recovered.failed,
        )


def _queue(settings: Settings, ledger: Ledger, clock: Clock) -> Queue:
    """Raises MisconfiguredError where the configured queue cannot be had."""
    if settings.queue == "local":
        return LocalQueue(ledger, clock)
    raise MisconfiguredError(
        f"cannot use queue {settings.queue!r}: this version has the embedded queue only",
        hint='set queue = "local"',
    )


def _limits(settings: Settings) -> Callable[[str], RetryLimits]:
    def of(flow: str) -> RetryLimits:
        configured = settings.flows[flow]
        return RetryLimits(
            max_retries=configured.max_retries,
            max_deferrals=configured.max_deferrals,
            backoff=configured.backoff,
            max_backoff=configured.max_backoff,
        )

    return of
