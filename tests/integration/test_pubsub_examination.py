"""What the doctor finds at Pub/Sub, and the mend that it names for each."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from buttermilkd.clock import SystemClock
from buttermilkd.config.settings import PubsubSettings
from buttermilkd.queues.pubsub.examination import examine
from buttermilkd.queues.pubsub.findings import Finding
from buttermilkd.queues.pubsub.resources import ensure, resources_of
from buttermilkd.testing import HandMovedClock
from tests.emulator import Emulator
from tests.grpc_fake import FakePubsub, Status, fake_pubsub
from tests.integration.pubsub_scene import Scene, scene

RESOURCES = resources_of(PubsubSettings(), "host-1")


@pytest.fixture
async def here(shared_emulator: Emulator) -> AsyncIterator[Scene]:
    async with scene(shared_emulator, made=False) as there:
        yield there


@pytest.fixture
async def fake() -> AsyncIterator[FakePubsub]:
    async with fake_pubsub() as one:
        one.now = SystemClock().now()
        yield one


async def examined(here: Scene, clock: Any = None) -> dict[str, Finding]:
    return {one.subject: one async for one in examine(here.broker, RESOURCES, clock or SystemClock())}


async def test_where_all_is_well_each_thing_is_said_to_be(here: Scene) -> None:
    await ensure(here.broker, RESOURCES, create=True)

    found = await examined(here)

    assert list(found) == [
        "pubsub",
        "topic jobs",
        "topic flow",
        "subscription jobs-sub",
        "subscription flow-sub-host-1",
        "permissions",
        "round trip",
        "clock",
    ]
    assert [one for one in found.values() if not one.ok or one.mend] == []
    assert "the emulator at" in found["pubsub"].detail
    assert found["permissions"].detail == "not looked at: this server has none"


async def test_it_leaves_nothing_behind(fake: FakePubsub) -> None:
    async with scene(fake, made=False) as there:
        await ensure(there.broker, RESOURCES, create=True)
        before = {*fake.topics, *fake.subscriptions}
        await examined(there)

    assert {*fake.topics, *fake.subscriptions} == before
    assert {request.topic for request in fake.asked("Publish")}.isdisjoint(before)


async def test_what_is_missing_comes_with_its_command(here: Scene) -> None:
    found = await examined(here)

    assert {subject for subject, one in found.items() if not one.ok} == {
        "topic jobs",
        "topic flow",
        "subscription jobs-sub",
        "subscription flow-sub-host-1",
    }
    assert found["topic jobs"].mend == f"gcloud pubsub topics create jobs --project={here.connection.project}"


@pytest.mark.parametrize(
    ("settings", "detail", "mend"),
    [
        (
            {
                "dead_letter_policy": {
                    "dead_letter_topic": "projects/p/topics/jobs",
                    "max_delivery_attempts": 5,
                }
            },
            "buries a job that was given back 5 times",
            "update jobs-sub --clear-dead-letter-policy",
        ),
        (
            {"retry_policy": {"minimum_backoff": {"seconds": 10}, "maximum_backoff": {"seconds": 600}}},
            "its retry policy delays jobs that are given back, by up to 600 s",
            "update jobs-sub --clear-retry-policy",
        ),
        ({"lease": 600}, "comes again after 600 s only", "update jobs-sub --ack-deadline=20"),
        (
            {"expiration_policy": {"ttl": {"seconds": 31 * 86400}}},
            "it is deleted after 31 days without use",
            "update jobs-sub --expiration-period=never",
        ),
        (
            {"push_config": {"push_endpoint": "https://example.org/"}},
            "it pushes to a web server",
            "update jobs-sub --push-endpoint=",
        ),
        ({"detached": True}, "it is detached", "subscriptions delete jobs-sub"),
        ({"topic": "other"}, "topics/other, not of projects/", "subscriptions create jobs-sub --topic=jobs"),
    ],
)
async def test_settings_that_would_lose_or_delay_jobs_are_named(
    fake: FakePubsub, settings: dict[str, Any], detail: str, mend: str
) -> None:
    async with scene(fake, made=False) as there:
        await there.make_topic()
        await there.make_topic("other")
        await there.make_subscription(**{"lease": 20, "expiration_policy": {}, **settings})

        finding = (await examined(there))["subscription jobs-sub"]

    assert not finding.ok
    assert detail in finding.detail
    assert mend in (finding.mend or "")


async def test_settings_that_only_cost_something_are_noted(fake: FakePubsub) -> None:
    async with scene(fake, made=False) as there:
        await there.make_topic()
        notable: dict[str, Any] = {
            "enable_exactly_once_delivery": True,
            "enable_message_ordering": True,
            "filter": 'attributes.flow = "x"',
        }
        await there.make_subscription(lease=20, expiration_policy={}, **notable)
        finding = (await examined(there))["subscription jobs-sub"]

    assert finding.ok
    for word in ("exactly-once", "ordering", 'attributes.flow = "x"'):
        assert word in finding.detail


async def test_permissions_that_are_lacking_are_named_with_their_roles(fake: FakePubsub) -> None:
    fake.denied = {"pubsub.topics.publish"}
    denied = Status(grpc.StatusCode.PERMISSION_DENIED, "User not authorized to perform this action.")
    for method in ("GetTopic", "GetSubscription", "CreateTopic"):
        fake.on(method, denied)
    async with scene(fake, made=False) as there:
        found = await examined(there)

    assert {subject for subject, one in found.items() if not one.ok} == {"permissions"}
    assert (
        "lacks pubsub.topics.publish on topic jobs, pubsub.topics.publish on topic flow"
        in found["permissions"].detail
    )
    assert "topics add-iam-policy-binding flow" in (found["permissions"].mend or "")
    assert "not tried" in found["round trip"].detail
    assert "not looked at" in found["topic jobs"].detail


async def test_a_clock_that_goes_wrong_is_found(fake: FakePubsub) -> None:
    async with scene(fake, made=False) as there:
        await ensure(there.broker, RESOURCES, create=True)
        fake.now = HandMovedClock().now() + 60
        found = await examined(there, HandMovedClock())
        assert found["clock"].detail == "this machine's is 60 s behind Google's"
        assert not found["clock"].ok
        fake.now -= 3600
        found = await examined(there, HandMovedClock())
        assert found["clock"].detail == "this machine's is 3540 s ahead of Google's"


@pytest.mark.parametrize(
    ("status", "detail", "mend"),
    [
        (
            Status(grpc.StatusCode.UNAUTHENTICATED, "bad token"),
            "does not accept the credentials",
            "gcloud auth",
        ),
        (
            Status(
                grpc.StatusCode.UNAVAILABLE, "Getting metadata from plugin failed with error: invalid_grant"
            ),
            "does not accept the credentials",
            "gcloud auth",
        ),
        (Status(grpc.StatusCode.UNAVAILABLE, "Socket closed"), "Socket closed", "this machine reaches"),
        (
            Status(grpc.StatusCode.NOT_FOUND, "Requested project not found (project=p)"),
            "project",
            "pubsub.project",
        ),
    ],
)
async def test_where_nobody_can_be_asked_that_is_the_only_finding(
    fake: FakePubsub, status: Status, detail: str, mend: str
) -> None:
    fake.on("GetTopic", status)
    async with scene(fake, made=False) as there:
        (finding,) = (await examined(there)).values()

    assert (finding.subject, finding.ok) == ("pubsub", False)
    assert detail in finding.detail
    assert mend in (finding.mend or "")
