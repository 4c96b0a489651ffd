"""Whether Pub/Sub works for a daemon, thing by thing, and how to mend what does not."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError, MisconfiguredError
from buttermilkd.queues.pubsub import faults
from buttermilkd.queues.pubsub.adapter import GoogleBroker
from buttermilkd.queues.pubsub.api import GoneError, LackingPermissionError, Outgoing
from buttermilkd.queues.pubsub.connection import ask
from buttermilkd.queues.pubsub.findings import Finding, judge
from buttermilkd.queues.pubsub.resources import DAY, TIMEOUT, Resources, Subscription, Topic, look_at

PUBLISH = "pubsub.topics.publish"
CONSUME = "pubsub.subscriptions.consume"
LARGEST_SKEW = 5.0
"""Seconds that this machine's clock may differ from Google's: updates of jobs are put in order by it."""
_STATUS = "see https://status.cloud.google.com, and try again"
PATIENCE = 15.0
"""Seconds for a message to come back."""


async def examine(broker: GoogleBroker, resources: Resources, clock: Clock) -> AsyncIterator[Finding]:
    """Look at all there is, one after the other. Where nobody can be asked, that is the only finding."""
    connection = broker.connection
    try:
        await look_at(connection, resources.jobs_topic)
    except (GoneError, LackingPermissionError):
        pass  # told below
    except ButtermilkError as error:
        yield _failure("pubsub", error)
        return
    yield Finding("pubsub", ok=True, detail=f"project {connection.project}, as {connection.identity}")
    for resource in resources:
        yield await _examined(broker, resource)
    yield await _permissions(broker, resources)
    async for finding in _round_trip(broker, clock):
        yield finding


async def _examined(broker: GoogleBroker, resource: Topic | Subscription) -> Finding:
    connection, subject = broker.connection, f"{resource.kind} {resource.name}"
    try:
        found = await look_at(connection, resource)
    except GoneError:
        mend = resource.command(connection.project)
        return Finding(subject, ok=False, detail="does not exist", mend=mend)
    except LackingPermissionError:
        return Finding(subject, ok=True, detail="not looked at: this account may not, nor need it")
    except ButtermilkError as error:
        return _failure(subject, error)
    if isinstance(resource, Topic):
        return Finding(subject, ok=True, detail="exists")
    return judge(resource, connection.project, connection.topic(resource.topic), found)


async def _permissions(broker: GoogleBroker, resources: Resources) -> Finding:
    lacking, mends = [], []
    for resource in resources:
        needed = PUBLISH if isinstance(resource, Topic) else CONSUME
        try:
            if await _granted(broker, resource, needed):
                continue
        except GoneError:
            continue  # told already
        except ButtermilkError as error:
            if faults.is_unknown_method(error):
                return Finding("permissions", ok=True, detail="not looked at: this server has none")
            return _failure("permissions", error)
        doing = "publish to" if isinstance(resource, Topic) else "pull from"
        lacking.append(f"{needed} on {resource.kind} {resource.name}")
        mends.append(faults.grant(doing, resource.path(broker.connection)))
    if lacking:
        detail = f"this account lacks {', '.join(lacking)}"
        return Finding("permissions", ok=False, detail=detail, mend=" && ".join(mends))
    return Finding("permissions", ok=True, detail="this account may publish and pull")


async def _granted(broker: GoogleBroker, resource: Topic | Subscription, permission: str) -> bool:
    path, call = resource.path(broker.connection), broker.connection.subscriber.test_iam_permissions
    request = {"resource": path, "permissions": [permission]}
    answer = await ask("look at permissions of", path, call, request, TIMEOUT)
    return permission in answer.permissions


async def _round_trip(broker: GoogleBroker, clock: Clock) -> AsyncIterator[Finding]:
    """A message to ourselves, over a topic that is made for that and deleted.

    Over the topics that are used, it would come to every other host and to programs that know nothing of it.
    """
    connection, name = broker.connection, f"buttermilkd-check-{uuid.uuid4().hex[:12]}"
    topic, subscription = connection.topic(name), connection.subscription(name)
    # What a crash leaves of it goes by itself after a day, the least that is possible; an empty topic costs nothing.
    settings = {"topic": topic, "expiration_policy": {"ttl": {"seconds": DAY}}}
    try:
        await ask("create", topic, connection.publisher.create_topic, {"name": topic}, TIMEOUT)
        make = connection.subscriber.create_subscription
        await ask("create", subscription, make, {"name": subscription, **settings}, TIMEOUT)
        sent_at = clock.now()
        await broker.publish(topic, [Outgoing(b"check", {})])
        answered_at = clock.now()
        received = await broker.pull(subscription, 1, PATIENCE)
    except LackingPermissionError:
        yield Finding(
            "round trip", ok=True, detail="not tried: this account may not make a topic, nor need it"
        )
    except ButtermilkError as error:
        yield _failure("round trip", error)
    else:
        if received:
            yield Finding("round trip", ok=True, detail="a message came back")
            yield _skew(received[0].published_at, sent_at, answered_at)
        else:
            yield Finding(
                "round trip", ok=False, detail=f"no message came back within {PATIENCE:g} s", mend=_STATUS
            )
    finally:
        await _remove(broker, topic, subscription)


def _skew(published_at: float, sent_at: float, answered_at: float) -> Finding:
    """How far the clocks are apart: the service's time lay between these two of ours."""
    apart = min(max(published_at, sent_at), answered_at) - published_at
    if abs(apart) > LARGEST_SKEW:
        detail = f"this machine's is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} Google's"
        return Finding("clock", ok=False, detail=detail, mend="timedatectl set-ntp true")
    return Finding("clock", ok=True, detail="agrees with Google's")


async def _remove(broker: GoogleBroker, topic: str, subscription: str) -> None:
    connection = broker.connection
    calls: tuple[tuple[str, str, Any], ...] = (
        ("subscription", subscription, connection.subscriber.delete_subscription),
        ("topic", topic, connection.publisher.delete_topic),
    )
    for kind, path, call in calls:
        try:
            await ask("delete", path, call, {kind: path}, TIMEOUT)
        except ButtermilkError:
            continue  # it was never made, or goes by itself


def _failure(subject: str, error: ButtermilkError) -> Finding:
    problems = error.problems if isinstance(error, MisconfiguredError) else ()
    return Finding(subject, ok=False, detail="; ".join(problems) or str(error), mend=error.hint)
