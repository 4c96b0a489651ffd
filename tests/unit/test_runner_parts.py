"""The runner's parts that need no process."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.jobs import Job, Outcome
from buttermilkd.runner.arguments import UnusableArgumentError, fill
from buttermilkd.runner.attempt import Allowance, Attempt, cause_of, timed_out
from buttermilkd.runner.callables.calls import Pace, printed
from buttermilkd.runner.callables.worker import Printed
from buttermilkd.runner.checks import FIT_FOR, RecentChecks, check
from buttermilkd.runner.lanes import Lanes
from buttermilkd.runner.launcher.environment import inherited
from buttermilkd.runner.output import BoundedLog, LastLine, telling_line
from buttermilkd.runner.slots import Slots
from buttermilkd.runner.timers import Timers
from buttermilkd.runner.waiting import Waiting


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0
        self._moved = asyncio.Event()

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        due = self.at + seconds
        while self.at < due:
            await self._moved.wait()

    async def move(self, seconds: float) -> None:
        self.at += seconds
        self._moved.set()
        self._moved = asyncio.Event()
        for _ in range(8):
            await asyncio.sleep(0)


@given(st.lists(st.binary(max_size=40)), st.integers(2, 60))
def test_a_log_keeps_all_or_its_beginning_and_its_end(chunks: list[bytes], limit: int) -> None:
    log = BoundedLog(limit)
    for chunk in chunks:
        log.write(chunk)
    everything = b"".join(chunks)
    if len(everything) <= limit:
        assert log.content() == everything
    else:
        assert log.content().startswith(everything[: limit // 2])
        assert log.content().endswith(everything[len(everything) - (limit - limit // 2) :])
        assert log.left_out == len(everything) - limit


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b" ", b"\n\n", b"d\ne", b"f\ng\nh\n", b" \n"])))
def test_the_last_line_that_is_not_blank_is_found_however_it_comes(chunks: list[bytes]) -> None:
    tracker = LastLine(1000)
    for chunk in chunks:
        tracker.write(chunk)
    lines = [line for line in b"".join(chunks).split(b"\n") if line.strip()]
    assert tracker.line() == (lines[-1] if lines else None)


def test_a_last_line_over_the_limit_is_none() -> None:
    tracker = LastLine(3)
    tracker.write(b"ab\nlonger")
    assert tracker.line() is None
    tracker.write(b"\nabc\n")
    assert tracker.line() == b"abc"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("loading\nERROR: disk full\nbye\n", "ERROR: disk full"),
        ("one\ntwo", "one"),
        ("error: x\nTraceback (most recent call last):\n  File\nKeyError: 'a'\n\n", "KeyError: 'a'"),
    ],
)
def test_the_telling_line_is_the_one_that_says_what_went_wrong(text: str, line: str | None) -> None:
    assert telling_line(text) == line


def test_causes_are_cut_and_durations_read_well() -> None:
    assert cause_of("exit status 1", None) == "exit status 1"
    assert len(cause_of("exit status 1", "x" * 500)) == 200
    assert [timed_out(seconds) for seconds in (1800, 7200, 90, 0.5)] == [
        "timed out after 30m",
        "timed out after 2h",
        "timed out after 90s",
        "timed out after 0.5s",
    ]


@given(st.text(), st.text())
def test_a_filled_argument_stays_one_argument_whatever_the_values_hold(record: str, value: str) -> None:
    job = Job("b.1", "b", "f", record, {"v": value})
    if "\0" in record + value:
        with pytest.raises(UnusableArgumentError):
            fill(["{record_id}", "{param:v}"], job)
    else:
        assert fill(["{record_id}", "{param:v}"], job) == [record, value]


def test_what_is_the_daemons_own_is_not_inherited() -> None:
    daemon = {
        "PATH": "/bin",
        "NOTIFY_SOCKET": "x",
        "LISTEN_FDS": "1",
        "WATCHDOG_USEC": "1",
        "BUTTERMILKD_IDLE__X": "1",
        "CREDENTIALS_DIRECTORY": "/run/credentials/x",
        "GOOGLE_APPLICATION_CREDENTIALS": "/etc/key.json",
        "RUNTIME_DIRECTORY": "/run/x",
        "STATE_DIRECTORY": "/var/lib/x",
        "CACHE_DIRECTORY": "/var/cache/x",
        "LOGS_DIRECTORY": "/var/log/x",
        "CONFIGURATION_DIRECTORY": "/etc/x",
    }
    assert inherited(daemon) == {"PATH": "/bin"}


def test_slow_calls_are_never_queued_and_fast_ones_up_to_256() -> None:
    pace = Pace()
    assert pace.depth == 0
    pace.took(1.0)
    assert pace.depth == 0
    for _ in range(200):
        pace.took(0.00001)
    assert pace.depth == 255


async def test_timers_fire_in_order_and_cancelled_ones_do_not() -> None:
    clock = Hand()
    timers = Timers(clock)
    fired: list[str] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(timers.run())
        timers.after(2, lambda: fired.append("second"))
        await clock.move(0)
        timers.after(1, lambda: fired.append("first"))
        timers.after(1.5, lambda: fired.append("never")).cancel()
        await clock.move(1)
        assert fired == ["first"]
        await clock.move(1)
        assert fired == ["first", "second"]
        task.cancel()


def test_cancelled_timers_do_not_pile_up() -> None:
    timers = Timers(Hand())
    for _ in range(10_000):
        timers.after(1800, lambda: None).cancel()
    assert len(timers._heap) < 1000


async def test_an_allowance_stands_still_while_suspended() -> None:
    clock = Hand()
    timers = Timers(clock)
    expired: list[bool] = []
    allowance = Allowance(timers, 10, lambda: expired.append(True))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(timers.run())
        allowance.start()
        await clock.move(6)
        allowance.suspend()
        await clock.move(100)
        allowance.resume(started=True)
        await clock.move(3.5)
        assert expired == []
        await clock.move(0.5)
        assert expired == [True]
        task.cancel()


@dataclass(frozen=True)
class Checked:
    command: tuple[str, ...] | None = None
    entrypoint: str | None = None
    python: str = "/usr/bin/env"
    directory: Path = Path("/")
    env: dict[str, str] = field(default_factory=dict)
    env_files: dict[str, Path] = field(default_factory=dict)
    name: str = "flow"
    workers: int = 1
    concurrency: int | None = None
    timeout: float | None = None
    grace: float = 1
    output_limit: int = 1
    result_limit: int = 1
    on_busy: str = "auto"
    restartable: bool = False
    suspend_max: float | None = None

    @property
    def kind(self) -> str:
        return "callable" if self.entrypoint else "command"

    def limit(self, daemon_concurrency: int) -> int:
        return daemon_concurrency


@pytest.mark.parametrize(
    ("flow", "problem"),
    [
        (Checked(command=("sh",)), None),
        (Checked(command=("{record_id}",)), None),
        (Checked(command=("sh",), env={"PATH": "/nowhere"}), "command 'sh' was not found"),
        (Checked(command=("/etc/passwd",)), "command /etc/passwd is not executable"),
        (Checked(command=("/no/such",)), "command /no/such does not exist"),
        (Checked(command=("sh",), directory=Path("/no/such")), "its directory /no/such does not exist"),
        (Checked(command=("sh",), env_files={"K": Path("/no/k")}), "the file /no/k for K cannot be read"),
        (Checked(command=("sh",), env_files={"K": Path("/dev")}), "the file /dev for K is no regular file"),
        (
            Checked(command=("sh",), env_files={"K": Path("/dev/null")}),
            "the file /dev/null for K is no regular file",
        ),
        (Checked(entrypoint="module"), "its entrypoint 'module' is not of the form package.module:function"),
        (Checked(entrypoint="m:f", python="/no/python"), "command /no/python does not exist"),
        (Checked(entrypoint="m:f", python="/bin/true"), "/bin/true does not say which Python it is"),
        (Checked(entrypoint="m:f", python="/usr/bin/python3"), None),
    ],
)
def test_a_flow_that_cannot_run_says_why(flow: Checked, problem: str | None) -> None:
    assert check(flow) == problem


async def test_a_flow_that_can_run_is_believed_to_for_a_second_and_one_that_cannot_is_not(
    tmp_path: Path,
) -> None:
    clock, program = Hand(), tmp_path / "program"
    checks, flow = RecentChecks(clock), Checked(command=(str(program),))
    assert await checks.problem(flow) == f"command {program} does not exist"
    program.write_text("")
    program.chmod(0o755)
    assert await checks.problem(flow) is None
    program.unlink()
    await clock.move(FIT_FOR / 2)
    assert await checks.problem(flow) is None
    assert await checks.problem(replace(flow)) is not None, "it is another one"
    await clock.move(FIT_FOR / 2)
    assert await checks.problem(flow) is not None


def test_an_interpreter_is_asked_for_its_version_once_as_long_as_it_is_the_same_file(tmp_path: Path) -> None:
    python, asked = tmp_path / "python", tmp_path / "asked"
    flow = Checked(entrypoint="m:f", python=str(python), directory=tmp_path)

    def install(version: str) -> None:
        python.unlink(missing_ok=True)
        python.write_text(f"#!/bin/sh\necho again >>{asked}\necho Python {version}\n")
        python.chmod(0o755)

    install("3.11.0")
    assert (check(flow), check(flow), asked.read_text()) == (None, None, "again\n")
    install("3.8.10")
    assert check(flow) == f"{python} is Python 3.8; a worker needs Python 3.9 or later"
    assert check(flow) is not None
    install("3.13.0")
    assert check(flow) is None


@pytest.mark.parametrize("trouble", [None, "there is no launcher"])
async def test_what_goes_wrong_as_a_job_is_given_back_is_told_to_whoever_runs_the_runner(
    trouble: str | None,
) -> None:
    told: list[Exception] = []
    wrong = RuntimeError("it cannot be given back")

    def ended(_attempt: Attempt, _outcome: Outcome) -> None:
        raise wrong

    lanes = Lanes(lambda _flow, _left: pytest.fail("a flow that is gone needs no lane"))
    waiting = Waiting(dict, lanes, Slots(1), trouble=lambda: trouble, ended=ended, fail=told.append)
    waiting.add(Attempt(Job("b.1", "b", "gone", "r", {}), lambda _job, _outcome: None))
    waiting.place()
    assert told == [wrong]


@given(st.lists(st.tuples(st.text("aä\n", min_size=1, max_size=9), st.booleans())), st.integers(2, 40))
def test_what_a_call_prints_is_told_apart_by_streams_and_stays_one_text(
    pieces: list[tuple[str, bool]], limit: int
) -> None:
    kept = Printed(limit)
    for text, errors in pieces:
        kept.write(text, errors)
    told = list(printed({"log": kept.text(), "turns": [len(part) for part in kept.parts()]}))
    assert b"".join(part for part, _ in told).decode() == kept.text()
    everything = "".join(text for text, _ in pieces)
    if len(everything.encode()) <= limit // 2 * 2:
        assert kept.text() == everything
        for stream in (False, True):
            whole = "".join(text for text, errors in pieces if errors is stream)
            assert b"".join(part for part, errors in told if errors is stream).decode() == whole
