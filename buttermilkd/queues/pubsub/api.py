"""The port to a publish/subscribe service: what the Pub/Sub queue needs of one, in plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from buttermilkd.errors import MisconfiguredError, UnavailableError


class GoneError(UnavailableError):
    """The topic or subscription does not exist: not yet, or no longer. Wait, report, try again."""

    def __init__(self, message: str, *, resource: str, hint: str | None = None) -> None:
        """``resource`` is its full name, such as ``projects/p/topics/jobs``."""
        super().__init__(message, hint=hint, resource=resource)
        self.resource = resource


class LackingPermissionError(MisconfiguredError):
    """The account may not do this, or the service does not tell it whether there is such a thing."""


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery of a message; another one of the same message has another ``ack_id``."""

    ack_id: str
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: float
    """By the service's clock, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. Its attributes, or its data, must not be empty."""

    data: bytes
    attributes: Mapping[str, str]


class Broker(Protocol):
    """Topics and subscriptions of one project, named by their last part or in full (``projects/…``).

    Calls may be made at any moment, many at once. Each raises

    * ``UnavailableError`` in an outage: nothing is known to have happened, try again;
    * ``GoneError``, a kind of that, where the topic or subscription does not exist;
    * ``MisconfiguredError`` where a person must act: credentials, permissions, the project;
    * ``InvalidRequestError`` where the service refuses this very request, now and again: drop or mend it.
    """

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        """Publish all of these, in order, in as many requests as they need.

        Where a request fails, those before it are published: whoever tries all again publishes them twice.

        Raises:
            InvalidRequestError: one is larger than the service takes; nothing was published.
        """

    async def pull(self, subscription: str, limit: int, patience: float) -> list[Message]:
        """Lease up to ``limit`` messages, for as long as the subscription says; wait ``patience`` seconds for any.

        Nothing at the end of that proves nothing: ask again. May be cancelled at any moment; what then still
        comes is given back.
        """

    async def extend(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Lease these for ``seconds`` more, 0 to 600, from now; 0 gives them back, to be delivered again at once."""

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Have these never delivered again. What is acknowledged late or twice is ignored."""

    async def close(self) -> None:
        """Give back what pulls still bring whose callers are gone, and disconnect. Bounded; raises nothing."""
