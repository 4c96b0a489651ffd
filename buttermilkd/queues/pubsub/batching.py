"""What fits into one request, by the service's limits."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from buttermilkd.errors import InvalidRequestError
from buttermilkd.queues.pubsub.api import Outgoing

Item = TypeVar("Item")

MOST_MESSAGES = 1000
"""In one publish request, and ids in one request about leases."""
LARGEST_PUBLISH = 9_500_000
"""Bytes of a publish request: the service takes 10,000,000, of which its own framing needs some."""
LARGEST_IDS = 480_000
"""Bytes of ids in one request: the service takes 524,288 with everything else."""
_FRAMING = 16
"""Bytes, at most, that each part of a message costs beside its contents."""


def size(message: Outgoing) -> int:
    """The most bytes that this takes in a request."""
    attributes = sum(
        len(name.encode()) + len(value.encode()) + _FRAMING for name, value in message.attributes.items()
    )
    return len(message.data) + attributes + _FRAMING


def in_requests(messages: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """The messages in order, as many together as one request holds.

    Raises:
        InvalidRequestError: one alone is too large for any.
    """
    sizes = [size(message) for message in messages]
    if too_large := [octets for octets in sizes if octets > LARGEST_PUBLISH]:
        raise InvalidRequestError(
            f"cannot publish a message of {too_large[0]:,} bytes: Pub/Sub takes up to {LARGEST_PUBLISH:,}",
            hint="keep large parameters and results in a file or a bucket, and send its name",
        )
    return list(_portions(messages, sizes, LARGEST_PUBLISH))


def ids_in_requests(ack_ids: Sequence[str]) -> list[list[str]]:
    """The ids in order, as many together as one request holds."""
    return list(_portions(ack_ids, [len(ack_id) + _FRAMING for ack_id in ack_ids], LARGEST_IDS))


def _portions(items: Sequence[Item], sizes: Sequence[int], largest: int) -> Iterator[list[Item]]:
    portion: list[Item] = []
    total = 0
    for item, octets in zip(items, sizes, strict=True):
        if portion and (len(portion) == MOST_MESSAGES or total + octets > largest):
            yield portion
            portion, total = [], 0
        portion.append(item)
        total += octets
    if portion:
        yield portion
