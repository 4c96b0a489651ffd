"""The connection to Pub/Sub: opened, prepared, tried again, and what is said meanwhile. Time moves by hand."""

import asyncio

import pytest

from buttermilkd.errors import InvalidRequestError, MisconfiguredError, UnavailableError
from buttermilkd.journal import Kind, fields_in
from buttermilkd.queues.pubsub.api import Broker, GoneError
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.memory_broker import Cloud, MemoryBroker


class Scene:
    """A link whose connection, preparation and calls fail for as long as a test says so."""

    def __init__(self, clock: HandMovedClock) -> None:
        self.clock = clock
        self.link = Link(self._connect, self._prepare, clock)
        self.link.on_emptied = lambda: self.told.append("emptied")
        self.link.on_new = lambda: self.told.append("new")
        self.refusal: Exception | None = None
        self.is_new = False
        self.told: list[str] = []

    async def _connect(self) -> Broker:
        self._fail()
        return MemoryBroker(Cloud(self.clock))

    async def _prepare(self, _: Broker) -> bool:
        self.told.append("prepared")
        return self.is_new

    def _fail(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def call(self, _: Broker) -> str:
        self._fail()
        return "done"

    def do(self, what: str = "pull") -> asyncio.Future[str]:
        return asyncio.ensure_future(self.link.do(what, self.call))


@pytest.fixture
def scene(clock: HandMovedClock) -> Scene:
    return Scene(clock)


async def test_it_is_opened_and_prepared_once_by_the_first_that_needs_it(scene: Scene) -> None:
    assert list(await asyncio.gather(scene.do(), scene.do("publish"))) == ["done", "done"]
    assert scene.told == ["prepared"]


async def test_an_outage_is_said_once_and_tried_again_at_growing_intervals(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buttermilkd.queues.pubsub.link")
    await scene.do("prepare")
    caplog.clear()
    scene.refusal = UnavailableError("cannot pull from jobs-sub: connection refused")
    done = scene.do()
    await scene.clock.advance(120)
    assert scene.link.trouble == "cannot pull from jobs-sub: connection refused"
    assert caplog.text.count("connection refused") == 1
    scene.refusal = None
    await scene.clock.advance(20)
    assert await done == "done"
    assert scene.link.trouble is None
    kinds = [fields_in(record).get("MESSAGE_ID") for record in caplog.records]
    assert kinds == [Kind.QUEUE_UNREACHABLE, Kind.QUEUE_BACK]


async def test_that_something_else_works_does_not_end_a_trouble(scene: Scene) -> None:
    await scene.do()
    scene.refusal = UnavailableError("no answer in time")
    publishing = scene.do("publish")
    await settle_loop()
    scene.refusal = None
    await scene.do("pull")
    assert scene.link.trouble == "no answer in time"
    await scene.clock.advance(20)
    assert await publishing == "done"
    assert scene.link.trouble is None


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (MisconfiguredError("no credentials", hint="gcloud auth application-default login"), "gcloud auth"),
        (
            MisconfiguredError("2 missing", problems=("jobs: gcloud pubsub topics create jobs",)),
            "topics create",
        ),
    ],
)
async def test_what_a_person_must_do_is_said(
    scene: Scene, caplog: pytest.LogCaptureFixture, refusal: Exception, words: str
) -> None:
    scene.refusal = refusal
    done = scene.do()
    await scene.clock.advance(5)
    assert words in caplog.text
    scene.refusal = None
    await scene.clock.advance(20)
    assert await done == "done"


async def test_what_is_gone_is_made_again_and_told_of(scene: Scene) -> None:
    await scene.do()
    scene.refusal, scene.is_new = GoneError("no such subscription", resource="jobs-sub"), True
    done = scene.do()
    await settle_loop()
    scene.refusal = None
    await scene.clock.advance(5)
    assert await done == "done"
    assert scene.told == ["prepared", "prepared", "emptied", "new"]


async def test_a_request_that_is_refused_for_ever_is_not_tried_again(scene: Scene) -> None:
    scene.refusal = None
    await scene.do()
    scene.refusal = InvalidRequestError("too large")
    with pytest.raises(InvalidRequestError):
        await scene.do()


async def test_a_single_call_is_made_once_and_not_before_there_is_a_connection(scene: Scene) -> None:
    with pytest.raises(UnavailableError, match="never reached"):
        await scene.link.once(scene.call)
    await scene.do()
    assert await scene.link.once(scene.call) == "done"
