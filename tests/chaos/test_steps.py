"""A daemon that dies at any of its steps loses no job, ends none twice, and repeats only what ran."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from buttermilkd.errors import ButtermilkError
from tests.acceptance.program import until
from tests.chaos.stepped import LOCAL, SHARED, steps_of
from tests.chaos.world import World
from tests.emulator import emulator

RECORDS = ["a", "flaky", "b", "fork", "bad", "c"]
OFTEN = (
    "activate.after:1",
    "take.after:1",
    "start.after:2",
    "end.before:2",
    "settle.before:1",
    "settle.after:1",
    "recover.after:1",
    "finish cancel.before:1",
)
"""Those of the local queue that every run dies at; the others only with ``--matrix``."""
OFTEN_SHARED = (
    "make.after:4",
    "publish.after:2",
    "claim.after:1",
    "settle.after:1",
    "acknowledge.before:1",
)
_LATER = {
    "commit.before": 3,
    "commit.after": 3,
    "start.after": 2,
    "end.before": 2,
    "publish.after": 2,
    "make.before": 3,
    "make.after": 4,
}
"""Steps that are worth to be reached more often than once, and at which time the daemon dies."""
EMPTIED = ("make", "note loss")
"""Steps that come only where Pub/Sub has lost everything."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as one:
        yield one


@pytest.fixture
def folder(stack: ExitStack) -> Path:
    # Not tmp_path: a Unix socket's path may have no more than 107 bytes.
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buttermilkd-chaos-")))


def wanted(config: pytest.Config, steps: list[str], often: tuple[str, ...]) -> list[str]:
    if not config.getoption("--matrix"):
        return list(often)
    return [f"{step}:{count}" for step in steps for count in sorted({1, _LATER.get(step, 1)})]


def die_at(world: World, step: str, batch: str) -> None:
    """Have the daemon do all that it can do, until it reaches this step; what was asked for before is asked again."""
    world.expected[batch] = len(RECORDS)
    if step.startswith(EMPTIED):
        lose_everything(world)
    world.start(step)
    process = world.daemon.process
    assert process is not None
    if process.poll() is None:
        create_missing(world)
    if "cancel" in step or "requeue" in step:
        cancel_and_retry(world, batch)
    until(lambda: process.poll() is not None, f"death at {step}")
    assert process.returncode == -signal.SIGKILL, world.daemon.log.read_text()
    world.dead()


def lose_everything(world: World) -> None:
    """The emulator comes back empty, while jobs wait there."""
    assert world.topic is not None
    assert world.cloud is not None
    world.start()
    create_missing(world)
    until(world.work.begun, "the first job that was published")
    world.kill()
    world.topic.lose()
    world.cloud.kill()
    world.cloud.restart()


def create_missing(world: World) -> None:
    """As somebody does who has had no answer: the same key creates the same batch once."""
    for batch in world.expected.keys() - world.created:
        world.create(batch, RECORDS)


def cancel_and_retry(world: World, batch: str) -> None:
    """As far as the daemon lives to do it."""
    client = world.daemon.client
    try:
        world.work.note("cancelled", batch)
        client.cancel(batch)
        until(lambda: client.batch(batch)["ended_at"], "the cancelled batch's end")
        with world.watch.lock:
            world.watch.look()
            world.work.note("retried", batch)
            client.retry(batch)
    except ButtermilkError:
        return


def matrix(world: World, steps: list[str]) -> None:
    for number, step in enumerate(steps):
        die_at(world, step, f"b{number}")
    world.start()
    create_missing(world)
    assert world.drained(60), world.daemon.log.read_text()
    assert world.verdict() == []


@pytest.mark.timeout(600)
def test_a_daemon_that_dies_at_any_step_of_a_job_loses_none_and_ends_none_twice(
    folder: Path, stack: ExitStack, pytestconfig: pytest.Config
) -> None:
    matrix(World(folder, stack), wanted(pytestconfig, steps_of(LOCAL), OFTEN))


@pytest.mark.timeout(900)
def test_so_it_is_with_a_queue_at_pubsub(folder: Path, stack: ExitStack, pytestconfig: pytest.Config) -> None:
    cloud = stack.enter_context(emulator())  # of its own, since it loses everything
    steps = [step for step in steps_of((*LOCAL, *SHARED)) if not step.startswith("take.")]
    matrix(World(folder, stack, cloud=cloud), wanted(pytestconfig, steps, OFTEN_SHARED))
