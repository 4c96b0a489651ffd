"""The one place that chooses adapters: everything is opened here in order, and closed in reverse."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from buttermilkd.batches import Batches
from buttermilkd.cgroups import Hierarchy
from buttermilkd.clock import Clock
from buttermilkd.config.settings import Settings
from buttermilkd.control import server
from buttermilkd.control.daemon import PAUSED
from buttermilkd.control.services import Services
from buttermilkd.daemon import upkeep
from buttermilkd.dispatcher import Dispatcher
from buttermilkd.errors import MisconfiguredError
from buttermilkd.host.delegation import Delegation, delegated
from buttermilkd.host.instance import sole_instance
from buttermilkd.host.sockets import listening
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.idle.gate import Gate
from buttermilkd.idle.history import History
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
        stack.push_async_callback(upkeep.write_history, services.history, ledger)
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
    history = History(clock, runner.footprint.are_running)
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
        listeners=[suspension.carry_out, history.note],
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
        history=history,
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
