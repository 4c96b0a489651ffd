"""Topics and subscriptions: made as they should be, or named with the command that makes them."""

import asyncio
import shlex
from collections.abc import AsyncIterator

import grpc
import pytest

from buttermilkd.config.settings import PubsubSettings
from buttermilkd.errors import MisconfiguredError, StorageError, UnavailableError
from buttermilkd.queues.pubsub.api import GoneError, LackingPermissionError
from buttermilkd.queues.pubsub.resources import ensure, look_at, resources_of
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
        yield one


def test_the_host_has_a_status_subscription_of_its_own() -> None:
    assert [one.name for one in RESOURCES] == ["jobs", "flow", "jobs-sub", "flow-sub-host-1"]


async def test_what_is_missing_is_made_so_that_no_job_is_lost_late_or_buried(here: Scene) -> None:
    await ensure(here.broker, RESOURCES, create=True)

    jobs = await look_at(here.connection, RESOURCES.jobs)
    status = await look_at(here.connection, RESOURCES.status)
    assert jobs.topic == here.connection.topic("jobs")
    assert status.topic == here.connection.topic("flow")
    for one, days in ((jobs, 7), (status, 3)):
        assert one.ack_deadline_seconds == 20  # rule 3
        assert not one.dead_letter_policy.dead_letter_topic  # rule 7
        assert not one.retry_policy.minimum_backoff
        assert one.message_retention_duration.days == days
        assert not one.expiration_policy.ttl  # rule 9


async def test_rule_9_never_to_expire_is_asked_for_since_31_days_are_the_default(fake: FakePubsub) -> None:
    async with scene(fake, made=False) as there:
        await ensure(there.broker, RESOURCES, create=True)

    for request in fake.asked("CreateSubscription"):
        assert "expiration_policy" in request
        assert "dead_letter_policy" not in request
        assert "retry_policy" not in request


async def test_nothing_is_made_before_it_is_noted_that_it_was_missing(here: Scene) -> None:
    async def full() -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        await ensure(here.broker, RESOURCES, create=True, on_missing=full)
    with pytest.raises(GoneError):
        await look_at(here.connection, RESOURCES.jobs_topic)


async def test_nothing_is_noted_where_nothing_is_missing(here: Scene) -> None:
    noted: list[str] = []

    async def note() -> None:
        noted.append("missing")

    await ensure(here.broker, RESOURCES, create=True, on_missing=note)
    await ensure(here.broker, RESOURCES, create=True, on_missing=note)
    assert noted == ["missing"]


async def test_what_is_there_is_left_as_it_is(here: Scene) -> None:
    await here.make_topic()
    await here.make_subscription(lease=33)
    await ensure(here.broker, RESOURCES, create=True)
    await ensure(here.broker, RESOURCES, create=True)

    assert (await look_at(here.connection, RESOURCES.jobs)).ack_deadline_seconds == 33


async def test_hosts_that_start_together_do_not_trip_over_each_other(here: Scene) -> None:
    others = [resources_of(PubsubSettings(), f"host-{number}") for number in range(8)]

    await asyncio.gather(*(ensure(here.broker, one, create=True) for one in others))
    await ensure(here.broker, RESOURCES, create=False)


async def test_what_is_missing_and_not_to_be_made_is_named_with_its_command(here: Scene) -> None:
    await here.make_topic()

    with pytest.raises(MisconfiguredError) as caught:
        await ensure(here.broker, RESOURCES, create=False)

    project = here.connection.project
    settings = "--ack-deadline=20 --message-retention-duration={}d --expiration-period=never"
    commands = {
        "topics/flow": "topics create flow",
        "subscriptions/jobs-sub": f"subscriptions create jobs-sub --topic=jobs {settings.format(7)}",
        "subscriptions/flow-sub-host-1": f"subscriptions create flow-sub-host-1 --topic=flow {settings.format(3)}",
    }
    assert "3 topics and subscriptions" in str(caught.value)
    assert list(caught.value.problems) == [
        f"projects/{project}/{name}: does not exist; make it: gcloud pubsub {command} --project={project}"
        for name, command in commands.items()
    ]
    assert "pubsub.create = true" in (caught.value.hint or "")


def test_odd_names_are_quoted_for_the_shell() -> None:
    odd = resources_of(PubsubSettings(subscription="a b; rm"), "h").jobs

    assert "a b; rm" in shlex.split(odd.command("p"))


async def test_what_may_not_be_looked_at_is_taken_to_be_there(fake: FakePubsub) -> None:
    denied = Status(grpc.StatusCode.PERMISSION_DENIED, "User not authorized to perform this action.")
    fake.on("GetTopic", denied)
    fake.on("GetSubscription", denied)
    async with scene(fake, made=False) as there:
        await ensure(there.broker, RESOURCES, create=False)
        await ensure(there.broker, RESOURCES, create=True)
        assert len(fake.subscriptions) == 2

        fake.topics.clear()
        fake.on("CreateTopic", denied)
        with pytest.raises(LackingPermissionError, match=r"cannot create projects/.*/topics/jobs") as caught:
            await ensure(there.broker, RESOURCES, create=True)
        assert "roles/pubsub.editor" in (caught.value.hint or "")


async def test_an_outage_is_not_taken_for_missing_topics(fake: FakePubsub) -> None:
    fake.on("GetTopic", Status(grpc.StatusCode.UNAVAILABLE))
    async with scene(fake, made=False) as there:
        with pytest.raises(UnavailableError):
            await ensure(there.broker, RESOURCES, create=True)
    assert not fake.asked("CreateTopic")
