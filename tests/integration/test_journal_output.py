"""What jobs print goes into the journal line by line, of commands and of callables, bounded for each and for all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from buttermilkd.clock import SystemClock
from buttermilkd.host.journal.output import OF_ALL_CUTS, OF_ALL_JOBS, OF_ONE_JOB, TOGETHER_EVERY, JobsOutput
from buttermilkd.host.journal.sender import NativeTransport, Sender
from buttermilkd.jobs import Job
from buttermilkd.journal import Kind
from buttermilkd.testing import HandMovedClock
from tests.integration.runner_host import Flow, Host, hosting, python, shell
from tests.journal_receiver import Received, Receiver

BURST = int(OF_ONE_JOB["burst"])
OF_ALL = int(OF_ALL_JOBS["burst"])


class Journal:
    """A receiver, read by a thread as it comes, and a sender to it."""

    def __init__(self, path: Path) -> None:
        self._receiver = Receiver(path)
        self.sender = Sender(NativeTransport(path), "server-1")
        self.sender.start()

    async def next(self) -> Received:
        return await asyncio.to_thread(self._receiver.next)

    async def lines(self, number: int) -> list[Received]:
        return [await self.next() for _ in range(number)]

    def nothing_is_left(self) -> bool:
        self.sender.close(patience=10.0)
        return self._receiver.nothing_is_left()

    def close(self) -> None:
        self.sender.close(patience=0.0)
        while not self._receiver.nothing_is_left():
            self._receiver.next()
        self.sender.close(patience=10.0)
        self._receiver.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "socket")
    yield journal
    journal.close()


Hosting = Callable[..., AbstractAsyncContextManager[Host]]


@pytest.fixture
def hosted(tmp_path: Path, journal: Journal) -> Hosting:
    """A runner whose jobs print into the journal."""

    @asynccontextmanager
    async def host(*flows: Flow) -> AsyncIterator[Host]:
        listen = JobsOutput(journal.sender, SystemClock()).listen
        async with hosting(tmp_path, *flows, listen=listen) as host:
            yield host

    return host


async def test_a_command_prints_into_the_journal_while_it_runs(hosted: Hosting, journal: Journal) -> None:
    flow = shell("echo ready; read never < /dev/tty || sleep 60")
    async with hosted(flow) as host:
        job_id = host.start("Zoë")
        entry = await journal.next()
        assert job_id not in host.outcomes
    assert entry == {
        "MESSAGE": "ready",
        "PRIORITY": "6",
        "STREAM": "stdout",
        "SYSLOG_IDENTIFIER": "flow",
        "HOST": "server-1",
        "BATCH_ID": "batch-1",
        "JOB_ID": job_id,
        "RECORD_ID": "Zoë",
        "FLOW": "flow",
        "ATTEMPT": "1",
    }


async def test_a_callable_prints_into_the_journal_on_both_streams(
    hosted: Hosting, journal: Journal, tmp_path: Path
) -> None:
    (tmp_path / "talking.py").write_text(
        "import sys\n"
        "def call(job):\n"
        "    print('said')\n"
        "    print('warned\\nagain', file=sys.stderr)\n"
        "    print('said more')\n"
        "    sys.stderr.write('no end')\n"
    )
    async with hosted(Flow(entrypoint="talking:call", directory=tmp_path)) as host:
        await host.run("r")
        told = await journal.lines(5)
    assert [(entry["MESSAGE"], entry["STREAM"], entry["PRIORITY"]) for entry in told] == [
        ("said", "stdout", "6"),
        ("warned", "stderr", "5"),
        ("again", "stderr", "5"),
        ("said more", "stdout", "6"),
        ("no end", "stderr", "5"),
    ]


async def test_the_last_words_of_a_job_that_is_killed_are_told(hosted: Hosting, journal: Journal) -> None:
    async with hosted(
        python("import os; print('about to', end='', flush=True); os.kill(os.getpid(), 9)")
    ) as host:
        await host.run()
        assert (await journal.next())["MESSAGE"] == "about to"


async def test_a_flood_is_cut_and_the_count_is_whole(hosted: Hosting, journal: Journal) -> None:
    async with hosted(shell("seq 1000000")) as host:
        await host.run()
    numbers, left_out = 0, 0
    while numbers + left_out < 1_000_000:
        entry = await journal.next()
        if entry.get("MESSAGE_ID") == Kind.OUTPUT_CUT:
            left_out += int(entry["LINES"])
        else:
            numbers += 1
    assert numbers >= BURST
    assert numbers + left_out == 1_000_000
    assert journal.nothing_is_left()


JOBS = [Job(f"batch-1.{number}", "batch-1", "flow", "r", {}) for number in range(1, 7)]


async def test_one_job_may_not_use_up_what_the_others_may_print(journal: Journal) -> None:
    output = JobsOutput(journal.sender, HandMovedClock())
    loud, quiet = output.listen(JOBS[0]), output.listen(JOBS[1])
    loud.write(b"x\n" * 10_000, errors=False)
    quiet.write(b"heard\n", errors=False)
    told = await journal.lines(BURST + 1)
    assert [entry["MESSAGE"] for entry in told] == ["x"] * BURST + ["heard"]


async def test_all_jobs_together_may_not_use_up_what_the_daemon_may_say(journal: Journal) -> None:
    output = JobsOutput(journal.sender, HandMovedClock())
    listeners = [output.listen(job) for job in JOBS]
    for listener in listeners:
        listener.write(b"x\n" * BURST, errors=False)
    for listener in listeners:
        listener.finish()
    told = await journal.lines(OF_ALL + 2)
    assert [entry["MESSAGE"] for entry in told[:OF_ALL]] == ["x"] * OF_ALL
    assert [entry["LINES"] for entry in told[OF_ALL:]] == [str(BURST)] * (len(JOBS) - OF_ALL // BURST)
    assert journal.nothing_is_left()


async def test_what_was_left_out_is_told_before_what_comes_next(journal: Journal) -> None:
    clock = HandMovedClock()
    job = JobsOutput(journal.sender, clock).listen(JOBS[0])
    job.write(b"x\n" * (BURST + 7), errors=False)
    await clock.advance(1.0)
    job.write(b"later\n", errors=True)
    *_, cut, later = await journal.lines(BURST + 2)
    assert cut["MESSAGE"].startswith("… 7 lines left out here: buttermilkctl logs batch-1.1")
    assert (cut["MESSAGE_ID"], cut["JOB_ID"], cut["LINES"]) == (Kind.OUTPUT_CUT, "batch-1.1", "7")
    assert (later["MESSAGE"], later["STREAM"]) == ("later", "stderr")


async def left_out(journal: Journal, lines: int) -> list[int]:
    """How many lines each entry says were left out, until it is so many together."""
    told: list[int] = []
    while sum(told) < lines:
        entry = await journal.next()
        if entry.get("MESSAGE_ID") == Kind.OUTPUT_CUT:
            told.append(int(entry["LINES"]))
    return told


async def test_of_very_many_short_jobs_what_was_left_out_is_told_together(journal: Journal) -> None:
    clock = HandMovedClock()
    output = JobsOutput(journal.sender, clock)
    for job in JOBS[: OF_ALL // BURST]:
        output.listen(job).write(b"x\n" * BURST, errors=False)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(output.run())
        for number in range(1000):
            short = output.listen(Job(f"batch-2.{number}", "batch-2", "flow", "r", {}))
            short.write(b"one\ntwo\n", errors=False)
            short.finish()
            await asyncio.sleep(0)
        at_once = int(OF_ALL_CUTS["burst"])
        assert await left_out(journal, 2 * at_once + 2) == [2] * (at_once + 1)
        await clock.advance(TOGETHER_EVERY)
        assert await left_out(journal, 2 * (1000 - at_once - 1)) == [2 * (1000 - at_once - 1)]
        running.cancel()
    assert journal.nothing_is_left()


async def test_what_was_left_out_and_not_told_is_told_at_the_end(journal: Journal) -> None:
    output = JobsOutput(journal.sender, HandMovedClock())
    listeners = [output.listen(job) for job in JOBS * 10]
    for listener in listeners:
        listener.write(b"x\n" * (BURST + 1), errors=False)
        listener.finish()
    output.finish()
    told = await left_out(journal, (BURST + 1) * len(listeners) - OF_ALL)
    assert len(told) == int(OF_ALL_CUTS["burst"]) + 1
    assert journal.nothing_is_left()
