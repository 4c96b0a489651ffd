"""The one place that chooses adapters: everything is opened here in order, and closed in reverse."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from buttermilkd.batches import Batches
from buttermilkd.cgroups import Hierarchy
from buttermilkd.clock import Clock
from buttermilkd.config.flow import FlowSettings
from buttermilkd.config.in_force import InForce
from buttermilkd.config.settings import ActivitySettings, Settings
from buttermilkd.control import server
from buttermilkd.control.connections import Connections
from buttermilkd.control.daemon import PAUSED
from buttermilkd.control.services import Services
from buttermilkd.daemon import upkeep
from buttermilkd.daemon.changeover import change_over_of
from buttermilkd.daemon.foundations import (
    ACTIVITY,
    CONTROL,
    Foundations,
    Given,
    activity_socket,
    chosen_launcher,
    open_ledger,
)
from buttermilkd.daemon.reload import Reloading
from buttermilkd.daemon.telling import StatusLine
from buttermilkd.dead import DeadLetters
from buttermilkd.dispatcher import Dispatcher
from buttermilkd.host.instance import sole_instance
from buttermilkd.host.journal.output import JobsOutput
from buttermilkd.host.journal.sender import Sender
from buttermilkd.host.sockets import open_at
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.idle.gate import Gate, Look
from buttermilkd.idle.history import History
from buttermilkd.idle.load.machine import Machine
from buttermilkd.idle.probes.base import Probe
from buttermilkd.idle.probes.nginx import NginxProbe
from buttermilkd.idle.probes.ports import PortProbe
from buttermilkd.idle.probes.probing import Probing
from buttermilkd.idle.recorder import Recorder
from buttermilkd.idle.sources import Sources
from buttermilkd.places import CONTROL_SOCKET
from buttermilkd.queues.base import Queue
from buttermilkd.queues.local import LocalQueue
from buttermilkd.retries import RetryLimits
from buttermilkd.runner import checks
from buttermilkd.runner.footprint import Footprint
from buttermilkd.runner.runner import Runner
from buttermilkd.suspension import Suspension
from buttermilkd.waiting import EVERYTHING

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Daemon:
    """Everything that has been put together."""

    services: Services
    reloading: Reloading
    status_line: StatusLine
    output: JobsOutput | None
    """None: what jobs print goes into the ledger alone."""
    connections: Connections
    """Those of the control socket."""


@asynccontextmanager
async def opened(settings: Settings, clock: Clock, given: Given) -> AsyncIterator[Daemon]:
    """Everything that the daemon is made of, opened in order and closed in reverse.

    Raises:
        ConflictError, StorageError, MisconfiguredError: as ``run``.
    """
    paths, control = settings.daemon, settings.control
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(sole_instance(paths.state_dir))
        hierarchy = Hierarchy.find()
        launcher = await chosen_launcher(paths, lock, hierarchy, clock, stack)
        recorder = None if given.record is None else Recorder(given.record, settings.idle, clock)
        ledger, recovered = await open_ledger(settings, clock, given.notifier, stack)
        reports = open_at(
            activity_socket(paths.runtime_dir), given.sockets.get(ACTIVITY), settings.activity.socket_mode
        )
        reporters = ActivityServer(stack.enter_context(reports), clock)
        probing = Probing(_probes(settings.activity), settings.activity.probe_every, clock)
        activity = Sources(reporters, probing)
        built_on = Foundations(hierarchy, launcher, ledger, recovered, activity, recorder, given.journal)
        daemon = _assembled(settings, clock, given, built_on, stack)
        requests = open_at(
            paths.runtime_dir / CONTROL_SOCKET,
            given.sockets.get(CONTROL),
            control.socket_mode,
            control.admin_groups,
        )
        await server.serve(daemon.services, stack.enter_context(requests), stack, daemon.connections)
        yield daemon


def _assembled(
    settings: Settings, clock: Clock, given: Given, on: Foundations, stack: AsyncExitStack
) -> Daemon:
    """The rooms, each given what it works with."""
    in_force = InForce(settings)
    flows = in_force.flows
    output = _output(settings, clock, on.journal, stack)
    runner = Runner(
        flows,
        concurrency=settings.daemon.concurrency,
        scratch=settings.daemon.state_dir / "scratch",
        clock=clock,
        launcher=on.launcher,
        listen=output.listen if output else None,
    )
    history = History(clock, runner.footprint.are_running)
    stack.push_async_callback(upkeep.write_history, history, on.ledger)
    suspension = Suspension(runner, clock, longest=settings.idle.suspend_max)
    status_line = StatusLine(given.notifier, clock)
    listeners = [suspension.carry_out, history.note, status_line.note]
    if on.recorder is not None:
        stack.push_async_callback(on.recorder.flush)
        listeners.append(on.recorder.note)
    gate = _gate(settings, clock, on, runner.footprint, suspension, listeners, stack)
    queue = _queue(in_force, on, clock, stack)
    dispatcher = Dispatcher(queue=queue, runner=runner, gate=gate, limits=_limits(in_force), clock=clock)
    reloading = Reloading(
        read=given.read,
        in_force=in_force,
        rooms=change_over_of(given, on, runner, queue, suspension, gate, _probes),
        notifier=given.notifier,
        sentence=lambda: gate.verdict.sentence,
        stopping=lambda: dispatcher.draining,
    )

    batches = Batches(
        flows=flows,
        check=checks.by_name(flows, checks.RecentChecks(clock).problem),
        ledger=on.ledger,
        dispatcher=dispatcher,
        queue=settings.queue,
    )
    queue.attend(batches.follow)
    services = Services(
        in_force=in_force,
        clock=clock,
        ledger=on.ledger,
        batches=batches,
        dead=DeadLetters(ledger=on.ledger, retry=batches.retry_job, republish=queue.republish),
        dispatcher=dispatcher,
        queue=queue,
        runner=runner,
        gate=gate,
        suspension=suspension,
        history=history,
        recorder=on.recorder,
        activity=on.activity,
        check=checks.by_name(flows, checks.checked),
        launcher=on.launcher,
        journal=on.journal,
        reload=reloading.reload,
        host=settings.daemon.host,
        started_at=clock.now(),
    )
    return Daemon(services, reloading, status_line, output, Connections(clock))


def _output(
    settings: Settings, clock: Clock, journal: Sender | None, stack: AsyncExitStack
) -> JobsOutput | None:
    """Where what jobs print goes beside the ledger."""
    if journal is None or not settings.daemon.journal_output:
        return None
    output = JobsOutput(journal, clock)
    stack.callback(output.finish)
    return output


def _gate(
    settings: Settings,
    clock: Clock,
    on: Foundations,
    footprint: Footprint,
    suspension: Suspension,
    listeners: Sequence[Callable[[Look], None]],
    stack: AsyncExitStack,
) -> Gate:
    machine = Machine(clock, footprint, settings.idle, hierarchy=on.hierarchy)
    stack.callback(machine.close)
    gate = Gate(
        on.activity,
        machine,
        settings.idle,
        clock,
        concurrency=settings.daemon.concurrency,
        jobs=suspension.jobs,
        holds=[PAUSED] if EVERYTHING in on.ledger.holds else [],
        listeners=listeners,
    )
    machine.watch_pressure(gate.look_again)
    return gate


def _probes(settings: ActivitySettings) -> list[Probe]:
    probes: list[Probe] = [NginxProbe(url) for url in (settings.nginx.stub_status,) if url is not None]
    probes += (PortProbe(f"{name}", ports) for name, ports in settings.ports.items())
    return probes


def _queue(in_force: InForce, on: Foundations, clock: Clock, stack: AsyncExitStack) -> Queue:
    if in_force.settings.queue == "local":
        return LocalQueue(on.ledger, clock)
    # Nothing of it is imported where it is not used.
    from buttermilkd.daemon.shared import shared_queue  # noqa: PLC0415

    return shared_queue(in_force, on.ledger, on.recovered, clock, stack)


def _limits(in_force: InForce) -> Callable[[str], RetryLimits]:
    made: dict[str, tuple[FlowSettings, Settings, RetryLimits]] = {}

    def of(flow: str) -> RetryLimits:
        configured, settings = in_force.flows.last_known(flow), in_force.settings
        known = made.get(flow)
        if known is not None and known[0] is configured and known[1] is settings:
            return known[2]
        limits = RetryLimits(
            max_retries=configured.max_retries,
            max_deferrals=configured.max_deferrals,
            max_interruptions=settings.daemon.max_interruptions,
            backoff=configured.backoff,
            max_backoff=configured.max_backoff,
        )
        made[flow] = configured, settings, limits
        return limits

    return of
