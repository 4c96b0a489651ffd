"""What is wrong with a subscription's settings for a queue of jobs: a pure function, and what its findings are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from buttermilkd.plurals import count
from buttermilkd.queues.pubsub.resources import ACK_DEADLINE, Subscription

LATEST_ACK_DEADLINE = 60
"""Seconds that a delivery which was lost on its way may keep a job waiting."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    detail: str
    mend: str | None = None


def judge(wanted: Subscription, project: str, topic: str, found: Any) -> Finding:
    """The finding on a subscription as the service has it; ``topic`` is the full name of the one it should be of."""
    subject = f"subscription {wanted.name}"
    wrong = list(_faults(wanted, project, topic, found))
    if wrong:
        problems, mends = zip(*wrong, strict=True)
        return Finding(subject, ok=False, detail="; ".join(problems), mend=" && ".join(dict.fromkeys(mends)))
    return Finding(subject, ok=True, detail="; ".join([f"of topic {wanted.topic}", *_notes(found)]))


def _faults(wanted: Subscription, project: str, topic: str, found: Any) -> Iterator[tuple[str, str]]:
    """Each with the command that mends it."""
    again = (
        f"gcloud pubsub subscriptions delete {wanted.name} --project={project} && {wanted.command(project)}"
    )
    if found.detached:
        yield "it is detached: nothing comes any more", again
    elif found.topic != topic:
        yield f"it is of {found.topic}, not of {topic}", again
    if found.push_config.push_endpoint:
        yield "it pushes to a web server", wanted.update(project, "--push-endpoint=")
    if found.ack_deadline_seconds > LATEST_ACK_DEADLINE:
        detail = f"what is lost on its way comes again after {found.ack_deadline_seconds} s only"
        yield detail, wanted.update(project, f"--ack-deadline={ACK_DEADLINE}")
    if found.expiration_policy.ttl:
        days = count(found.expiration_policy.ttl.days, "day")
        yield f"it is deleted after {days} without use", wanted.update(project, "--expiration-period=never")
    if wanted.holds_jobs:
        yield from _delays(wanted, project, found)


def _delays(wanted: Subscription, project: str, found: Any) -> Iterator[tuple[str, str]]:
    """What becomes of jobs that are given back."""
    if found.dead_letter_policy.dead_letter_topic:
        attempts = found.dead_letter_policy.max_delivery_attempts
        detail = (
            f"its dead-letter policy buries a job that was given back {attempts} times, whoever is at fault"
        )
        yield detail, wanted.update(project, "--clear-dead-letter-policy")
    longest = found.retry_policy.maximum_backoff
    if longest or found.retry_policy.minimum_backoff:
        detail = f"its retry policy delays jobs that are given back{_up_to(longest)}"
        yield detail, wanted.update(project, "--clear-retry-policy")


def _up_to(longest: timedelta | None) -> str:
    return f", by up to {longest.total_seconds():g} s" if longest else ""


def _notes(found: Any) -> Iterator[str]:
    if found.enable_exactly_once_delivery:
        yield "exactly-once delivery is on, which is slower and not needed"
    if found.enable_message_ordering:
        yield "message ordering is on, which is not needed"
    if found.filter:
        yield f"its filter passes only {found.filter}"
