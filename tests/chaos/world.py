"""A daemon that is ill-treated, the file in which its jobs write down what they do, and the queue that it hangs on."""

import logging
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import psutil

from buttermilkd.errors import ButtermilkError
from tests.acceptance.program import IDLE_AT_ONCE, PATIENCE, until
from tests.chaos.checker import Evidence, Finding, check, repeats
from tests.chaos.sources import (
    Watch,
    Work,
    api_counters,
    api_jobs,
    counters_of,
    in_flight,
    jobs_of,
    survivors,
)
from tests.chaos.topic import Topic
from tests.chaos.victim import CALLED, FLOW, JOB, MODULE, Victim
from tests.emulator import Emulator
from tests.wire import Wire

LONGEST_STOP = 90.0
"""Seconds that a daemon on a busy machine may take to let its jobs end."""

logger = logging.getLogger(__name__)


class World:
    """One daemon, one queue, one file of evidence."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        cloud: Emulator | None = None,
        environment: Mapping[str, str] | None = None,
        nap: str = "0.05",
        concurrency: int = 4,
    ) -> None:
        """``cloud``: the queue is there, and else local. ``nap``: seconds that a job takes, as ``sleep`` reads them."""
        self.folder = folder
        self.cloud = cloud
        self.nap, self.concurrency = nap, concurrency
        self.project = f"chaos-{uuid4().hex[:12]}"
        self.work = Work(folder / "work")
        self.expected: dict[str, int] = {}
        """How many jobs each batch has that was asked for."""
        self.created: set[str] = set()
        """Batches that were answered."""
        self.topic: Topic | None = None
        more = dict(environment or {})
        if cloud is not None:
            self.wire = Wire(cloud.host)
            stack.callback(self.wire.close)
            more["PUBSUB_EMULATOR_HOST"] = self.wire.host
            self.topic = Topic(cloud.host, self.project)
            stack.callback(self.topic.close)
        self.daemon = Victim(folder, more)
        stack.callback(self._end)
        self.ledger = folder / "state" / "ledger.sqlite3"
        self.watch = stack.enter_context(Watch(self.ledger, self.work))
        (folder / f"{MODULE}.py").write_text(CALLED)  # once: a worker may import it at any moment
        self.configure()

    def configure(self, *, timeout: str = "1m", spoilt: bool = False) -> None:
        """Write the configuration; ``spoilt``: one that is wrong."""
        flow = FLOW.format(
            job=JOB,
            timeout=timeout,
            work=self.work.path,
            nap=self.nap,
            module=MODULE,
            folder=self.folder,
        )
        idle = IDLE_AT_ONCE + 'start_after = "1s"\nsuspend_min = "500ms"\nsuspensions_per_hour = 1000'
        if self.cloud is not None:
            idle += f'\n[pubsub]\nproject = "{self.project}"\ncreate = true\nstatus_topic = "status"\nlease = "20s"\n'
        text = "max_interruptions = 1000" + ('\nhost = "here"' if self.cloud is not None else "")
        self.daemon.write(
            flow + ("\n[flows.work" if spoilt else ""),
            concurrency=self.concurrency,
            daemon=text,
            idle=idle,
        )
        if self.cloud is not None:
            self.daemon.config.write_text('queue = "pubsub"\n' + self.daemon.config.read_text())

    # The daemon's life

    def start(self, die_at: str | None = None) -> None:
        """Start the daemon, and return once it answers or has died."""
        process = self.daemon.begin(die_at)
        until(lambda: process.poll() is not None or self.daemon.answers(), "an answer of the daemon")

    @property
    def lives(self) -> bool:
        return self.daemon.process is not None and self.daemon.process.poll() is None

    def kill(self) -> int:
        """End the daemon as a crash would; how many jobs were in flight."""
        if self.daemon.process is not None:
            self.daemon.process.kill()
        return self.dead()

    def dead(self) -> int:
        """The daemon has died, or dies now: note what was in flight, once its last job is gone; how many that were."""
        assert self.daemon.process is not None
        self.daemon.process.wait(PATIENCE)
        until(lambda: not survivors(str(self.folder)), "the end of every process of the daemon")
        jobs = in_flight(self.ledger)
        self.work.note("inflight", *jobs)
        return len(jobs)

    def kill_with_its_launcher(self) -> None:
        """Nobody is left then who could end jobs: the next daemon has to, before it begins any."""
        process = self.daemon.process
        if process is None or not self.lives:
            return
        process.send_signal(signal.SIGSTOP)  # so that it cannot see its launcher die
        for launcher in psutil.Process(process.pid).children():
            launcher.kill()
        process.kill()
        process.wait(PATIENCE)
        jobs = in_flight(self.ledger)
        self.start()
        # Noted only now: those that live on may have written of their beginning in the meantime.
        self.work.note("inflight", *jobs)

    def stop(self) -> int:
        """End the daemon in order; its exit status. Jobs that stand still just then are given back."""
        process = self.daemon.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        self.work.note("inflight", *in_flight(self.ledger))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        status = process.wait(LONGEST_STOP)
        self.dead()
        return status

    def _end(self) -> None:
        if self.lives:
            self.daemon.kill()
        until(lambda: not survivors(str(self.folder)), "the end of every process of the daemon")

    # Batches

    def create(self, batch: str, records: list[str], flow: str = "work") -> bool:
        """Create a batch of commands, or of calls (``call``); whether it is known that it was.

        Asking again with the same arguments is safe.
        """
        self.expected[batch] = len(records)
        try:
            self.daemon.client.create(flow, records=records, batch_id=batch, idempotency_key=batch)
        except ButtermilkError as error:
            if error.kind == "conflict":
                raise  # the key has been forgotten
            return False
        self.created.add(batch)
        return True

    def unfinished(self) -> int:
        """Jobs that have not ended, by the ledger."""
        known = jobs_of(self.ledger)
        ended = sum(1 for row in known.values() if row.ended_at is not None and row.status != "pending")
        return sum(self.expected.values()) - ended

    def drained(self, patience: float) -> bool:
        """Wait until everything has ended, for as long as something happens every ``patience`` seconds; whether it has."""
        seen, deadline = -1, 0.0
        while left := self.unfinished():
            now = time.monotonic()  # noqa: TID251 - the harness's own patience
            if (happened := len(self.work.lines())) != seen:
                seen, deadline = happened, now + patience
            if now > deadline:
                logger.error("%d jobs do not end", left)
                return False
            time.sleep(0.05)
        return True

    def get_on(self, jobs: int, longest: float) -> None:
        """Let so many executions end, where that takes no longer than ``longest`` seconds."""
        before, deadline = self.work.ended(), time.monotonic() + longest  # noqa: TID251
        while self.work.ended() < before + jobs and time.monotonic() < deadline:  # noqa: TID251
            time.sleep(0.005)

    # The end

    def verdict(self) -> list[Finding]:
        """Stop the daemon, and compare all that there is."""
        with self.watch.lock:
            self.watch.look()
        api: dict[str, str] = {}
        counters: dict[str, dict[str, int]] = {}
        for batch in self.expected:
            with suppress(ValueError):  # it does not know the batch: then its jobs are lost
                api |= api_jobs(self.daemon.control, batch)
                counters[batch] = api_counters(self.daemon.control, batch)
        status = self.stop()
        told = [] if self.topic is None else self.topic.messages()
        findings = check(
            Evidence(
                lines=self.work.lines(),
                expected=self.expected,
                ledger=jobs_of(self.ledger),
                counters=counters_of(self.ledger),
                api=api,
                api_counters=counters,
                told=told,
                told_all=self.topic is not None and not self.topic.has_lost,
                survivors=survivors(str(self.folder)),
            )
        )
        if status != 0:
            findings.append(
                Finding("died", "daemon", f"it ended with status {status} when it was asked to stop")
            )
        return findings

    def figures(self) -> dict[str, int]:
        """What the run amounted to."""
        again, flying = repeats(self.work.lines())
        return {
            "jobs": sum(self.expected.values()),
            "executions": sum(line.startswith("begun") for line in self.work.lines()),
            "repeated": again,
            "in flight at ends of the daemon": flying,
        }
