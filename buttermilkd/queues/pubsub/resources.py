"""The topics and subscriptions that a daemon needs: how they should be, the commands that make them, making them."""

import shlex
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from buttermilkd.config.settings import PubsubSettings
from buttermilkd.errors import ConflictError, MisconfiguredError
from buttermilkd.plurals import count
from buttermilkd.queues.pubsub.adapter import GoogleBroker
from buttermilkd.queues.pubsub.api import GoneError, LackingPermissionError
from buttermilkd.queues.pubsub.connection import Connection, ask

TIMEOUT = 20.0
"""Seconds for a request about a topic or a subscription."""
ACK_DEADLINE = 20
"""Seconds after which a message comes again that was lost on its way. Leases that are held are extended at once."""
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Topic:
    """One of a project."""

    name: str

    kind = "topic"

    def path(self, connection: Connection) -> str:
        return connection.topic(self.name)

    def command(self, project: str) -> str:
        """What makes it, for a shell."""
        return _gcloud("topics create", self.name, project)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One of a project."""

    name: str
    topic: str
    retention: int
    """Days that the service keeps what is not acknowledged."""
    holds_jobs: bool
    """Whether what it delivers may be given back."""

    kind = "subscription"

    def path(self, connection: Connection) -> str:
        return connection.subscription(self.name)

    def command(self, project: str) -> str:
        """What makes it, for a shell."""
        settings = (
            f"--topic={shlex.quote(self.topic)}",
            f"--ack-deadline={ACK_DEADLINE}",
            f"--message-retention-duration={self.retention}d",
            "--expiration-period=never",
        )
        return _gcloud("subscriptions create", self.name, project, *settings)

    def update(self, project: str, *settings: str) -> str:
        """What changes it, for a shell."""
        return _gcloud("subscriptions update", self.name, project, *settings)

    def request(self, connection: Connection) -> dict[str, Any]:
        """What makes it.

        No dead letters, since each job that is given back counts as one more delivery; no retry policy, which would
        delay it; no expiration, which would delete the subscription of a queue that has been empty for a month.
        """
        return {
            "name": self.path(connection),
            "topic": connection.topic(self.topic),
            "ack_deadline_seconds": ACK_DEADLINE,
            "message_retention_duration": {"seconds": self.retention * DAY},
            "expiration_policy": {},
        }


@dataclass(frozen=True, slots=True)
class Resources:
    """All that one daemon needs."""

    jobs_topic: Topic
    status_topic: Topic
    jobs: Subscription
    status: Subscription

    def topics(self) -> tuple[Topic, ...]:
        return self.jobs_topic, self.status_topic

    def subscriptions(self) -> tuple[Subscription, ...]:
        return self.jobs, self.status

    def for_creating(self) -> tuple[Topic | Subscription, ...]:
        """What must be there before a batch is published: jobs on a topic without a subscription are lost."""
        return (*self.topics(), self.jobs)

    def __iter__(self) -> Iterator[Topic | Subscription]:
        """Topics first: their subscriptions need them."""
        return iter((*self.topics(), *self.subscriptions()))


def resources_of(settings: PubsubSettings, host: str) -> Resources:
    """Those that these settings name on this host."""
    status = settings.status_subscription.replace("{host}", host)
    return Resources(
        jobs_topic=Topic(settings.jobs_topic),
        status_topic=Topic(settings.status_topic),
        jobs=Subscription(settings.subscription, settings.jobs_topic, retention=7, holds_jobs=True),
        status=Subscription(status, settings.status_topic, retention=3, holds_jobs=False),
    )


async def _unheard() -> None:
    """For those who have published nothing."""


async def ensure(
    broker: GoogleBroker,
    resources: Iterable[Topic | Subscription],
    *,
    create: bool,
    on_missing: Callable[[], Awaitable[None]] = _unheard,
) -> list[Topic | Subscription]:
    """See to it that all are there; ``create``: make what is missing, as others may at the same time.

    Returns those that were made: what was published before has not come to a subscription that is new. ``on_missing``
    is awaited before any is made: who dies in between finds all of them there, and nothing tells what was lost.

    What this account may not look at is taken to be there: publishing and pulling need no permission to look.

    Raises:
        MisconfiguredError: some are missing, each with its command in ``problems``; or they may not be made.
        UnavailableError: the service does not answer.
    """
    connection = broker.connection
    missing, unseen = await _look_for(connection, resources)
    if missing:
        await on_missing()
    if create:
        for resource in missing:
            await _make(connection, resource)
        made = [resource for resource in unseen if await _make(connection, resource)]
        if made:
            await on_missing()
        return missing + made
    if missing:
        raise MisconfiguredError(
            f"cannot use Pub/Sub: {count(len(missing), 'topic or subscription', 'topics and subscriptions')} missing",
            problems=tuple(
                f"{one.path(connection)}: does not exist; make it: {one.command(connection.project)}"
                for one in missing
            ),
            hint="run these commands, or set pubsub.create = true",
        )
    return missing


async def _look_for(
    connection: Connection, resources: Iterable[Topic | Subscription]
) -> tuple[list[Topic | Subscription], list[Topic | Subscription]]:
    """Those that do not exist, and those that this account may not look at."""
    missing: list[Topic | Subscription] = []
    unseen: list[Topic | Subscription] = []
    for resource in resources:
        try:
            await look_at(connection, resource)
        except GoneError:
            missing.append(resource)
        except LackingPermissionError:
            unseen.append(resource)
    return missing, unseen


async def look_at(connection: Connection, resource: Topic | Subscription) -> Any:
    """The topic or subscription as the service has it. Raises as ``connection.ask``."""
    path = resource.path(connection)
    if isinstance(resource, Topic):
        return await ask("look at", path, connection.publisher.get_topic, {"topic": path}, TIMEOUT)
    return await ask("look at", path, connection.subscriber.get_subscription, {"subscription": path}, TIMEOUT)


async def _make(connection: Connection, resource: Topic | Subscription) -> bool:
    """Whether it was not there before."""
    path = resource.path(connection)
    try:
        if isinstance(resource, Topic):
            await ask("create", path, connection.publisher.create_topic, {"name": path}, TIMEOUT)
        else:
            request = resource.request(connection)
            await ask("create", path, connection.subscriber.create_subscription, request, TIMEOUT)
    except ConflictError:
        return False  # another host was faster
    return True


def _gcloud(verb: str, name: str, project: str, *settings: str) -> str:
    return " ".join(
        ["gcloud pubsub", verb, shlex.quote(name), *settings, f"--project={shlex.quote(project)}"]
    )
