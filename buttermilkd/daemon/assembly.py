"""The one place that chooses adapters: everything is opened here in order, and closed in reverse."""

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.batches import Batches
from buttermilkd.cgroups import Hierarchy
from buttermilkd.clock import Clock
from buttermilkd.config.settings import ActivitySettings, Settings
from buttermilkd.control import server
from buttermilkd.control.daemon import PAUSED
from buttermilkd.control.services import Services
from buttermilkd.daemon import upkeep
from buttermilkd.dead import DeadLetters
from buttermilkd.dispatcher import Dispatcher
from buttermilkd.host.delegation import delegated
from buttermilkd.host.instance import sole_instance
from buttermilkd.host.journal.output import JobsOutput
from buttermilkd.host.journal.sender import Sender
from buttermilkd.host.sockets import listening
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
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.recovery import Recovered
from buttermilkd.places import ACTIVITY_SOCKET, CONTROL_SOCKET, JOBS_SOCKET
from buttermilkd.plurals import count
from buttermilkd.queues.base import Queue
from buttermilkd.queues.local import LocalQueue
from buttermilkd.retries import RetryLimits
from buttermilkd.runner import checks
from buttermilkd.runner.attempt import Listen
from buttermilkd.runner.footprint import Footprint
from buttermilkd.runner.launcher.child import ChildLauncher
from buttermilkd.runner.launcher.launched import Launcher
from buttermilkd.runner.launcher.unit import LauncherUnit
from buttermilkd.runner.runner import Runner
from buttermilkd.suspension import Suspension
from buttermilkd.waiting import EVERYTHING

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Foundations:
    """What has been opened before anything is put together on it."""

    hierarchy: Hierarchy | None
    launcher: Launcher
    ledger: Ledger
    recovered: Recovered
    activity: Sources
    recorder: Recorder | None
    journal: Sender | None
    """Sends to systemd's journal, where the daemon's own log goes there."""


@asynccontextmanager
async def opened(
    settings: Settings, clock: Clock, record: Path | None = None, journal: Sender | None = None
) -> AsyncIterator[Services]:
    """Everything that the daemon is made of, opened in order and closed in reverse.

    Raises:
        ConflictError, StorageError, MisconfiguredError: as ``run``.
    """
    paths, control = settings.daemon, settings.control
    async with AsyncExitStack() as stack:
        lock = stack.enter_context(sole_instance(paths.state_dir))
        hierarchy = Hierarchy.find()
        launcher = _launcher(paths.runtime_dir, lock, hierarchy, clock, stack)
        recorder = None if record is None else Recorder(record, settings.idle, clock)
        ledger = await Ledger.open(paths.state_dir, clock, stack, paths.host)
        recovered = await _recover(ledger, paths.max_interruptions)
        reports = listening(paths.runtime_dir / ACTIVITY_SOCKET, settings.activity.socket_mode)
        reporters = ActivityServer(stack.enter_context(reports), clock)
        activity = Sources(reporters, _probing(settings.activity, clock))
        built_on = Foundations(hierarchy, launcher, ledger, recovered, activity, recorder, journal)
        services = _assembled(settings, clock, built_on, stack)
        requests = listening(paths.runtime_dir / CONTROL_SOCKET, control.socket_mode, control.admin_groups)
        await server.serve(services, stack.enter_context(requests), stack)
        yield services


def _launcher(
    runtime_dir: Path, lock: int, hierarchy: Hierarchy | None, clock: Clock, stack: AsyncExitStack
) -> Launcher:
    """The service that listens for it, where there is one; else a child.

    A service that does not answer is waited for, since jobs may have rights there that they lack here, and lack there
    what the daemon has.
    """
    path = runtime_dir / JOBS_SOCKET
    if _is_our_socket(path):
        return LauncherUnit(path, clock, [lock], hierarchy)
    delegation = stack.enter_context(delegated(hierarchy))
    return ChildLauncher(os.environ, [lock], delegation.jobs, delegation.problem)


def _is_our_socket(path: Path) -> bool:
    """Jobs of another user's service could use nothing of what this daemon's user has made for them."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()


def _assembled(settings: Settings, clock: Clock, on: Foundations, stack: AsyncExitStack) -> Services:
    """The rooms, each given what it works with."""
    flows = settings.flows
    runner = Runner(
        flows,
        concurrency=settings.daemon.concurrency,
        scratch=settings.daemon.state_dir / "scratch",
        clock=clock,
        launcher=on.launcher,
        listen=_listening(settings, clock, on.journal),
    )
    history = History(clock, runner.footprint.are_running)
    stack.push_async_callback(upkeep.write_history, history, on.ledger)
    suspension = Suspension(runner, flows, clock, longest=settings.idle.suspend_max)
    listeners = [suspension.carry_out, history.note]
    if on.recorder is not None:
        stack.push_async_callback(on.recorder.flush)
        listeners.append(on.recorder.note)
    gate = _gate(settings, clock, on, runner.footprint, suspension, listeners, stack)
    queue = _queue(settings, on, clock, stack)
    dispatcher = Dispatcher(queue=queue, runner=runner, gate=gate, limits=_limits(settings), clock=clock)

    async def check(flow: str) -> str | None:
        return await asyncio.to_thread(checks.check, flows[flow])

    batches = Batches(flows=flows, check=check, ledger=on.ledger, dispatcher=dispatcher, queue=settings.queue)
    queue.attend(batches.follow)
    return Services(
        settings=settings,
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
        check=check,
        launcher=on.launcher,
        journal=on.journal,
        host=settings.daemon.host,
        started_at=clock.now(),
    )


def _listening(settings: Settings, clock: Clock, journal: Sender | None) -> Listen | None:
    """Where what jobs print goes beside the ledger."""
    if journal is None or not settings.daemon.journal_output:
        return None
    return JobsOutput(journal, clock).listen


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


def _probing(settings: ActivitySettings, clock: Clock) -> Probing:
    probes: list[Probe] = [NginxProbe(url) for url in (settings.nginx.stub_status,) if url is not None]
    probes += (PortProbe(f"{name}", ports) for name, ports in settings.ports.items())
    return Probing(probes, settings.probe_every, clock)


async def _recover(ledger: Ledger, most_interruptions: int) -> Recovered:
    recovered = await ledger.recover(most_interruptions)
    if recovered.interrupted or recovered.failed:
        logger.warning(
            "the last daemon died: %s pending again, %d failed after too many interruptions",
            count(len(recovered.interrupted), "job is", "jobs are"),
            len(recovered.failed),
        )
    for job in recovered.interrupted:
        text = "%s was interrupted by the daemon's death: it is pending again, and this costs no attempt"
        logger.info(text, job.job_id, extra=about(job, Kind.JOB_INTERRUPTED))
    for job in recovered.failed:
        told = about(job, Kind.JOB_FAILED)
        logger.warning(
            "%s failed: it was interrupted too often; it is a dead letter now", job.job_id, extra=told
        )
    return recovered


def _queue(settings: Settings, on: Foundations, clock: Clock, stack: AsyncExitStack) -> Queue:
    if settings.queue == "local":
        return LocalQueue(on.ledger, clock)
    # Nothing of it is imported where it is not used.
    from buttermilkd.daemon.shared import shared_queue  # noqa: PLC0415

    return shared_queue(settings, on.ledger, on.recovered, clock, stack)


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
