"""What is told on the status topic, collected by a subscription of our own."""

import json
from contextlib import suppress
from typing import Any

import grpc
from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

NAME = "chaos"
MOST = 1000
PATIENCE = 10.0
"""Seconds that one call may take."""
SILENCE = 1.0
"""Seconds without a message after which there is none."""


class Topic:
    """Collects from before the daemon's first word on; where the emulator loses it, what came until then counts."""

    def __init__(self, host: str, project: str) -> None:
        """``host``: the emulator's. The topic is made here, and found by the daemon."""
        self._channel = grpc.insecure_channel(host)
        self._subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        self._publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self._path = f"projects/{project}/subscriptions/{NAME}"
        self.has_lost = False
        """The emulator has lost everything since."""
        self._found: list[dict[str, Any]] = []
        topic = f"projects/{project}/topics/status"
        self._publisher.create_topic(request={"name": topic})
        self._subscriber.create_subscription(request={"name": self._path, "topic": topic})

    def lose(self) -> None:
        """The emulator is about to lose everything: keep what was told until now."""
        if not self.has_lost:
            with suppress(GoogleAPICallError):  # it may be in no state to answer
                self._collect()
        self.has_lost = True

    def messages(self) -> list[dict[str, Any]]:
        """All that was told until now."""
        if not self.has_lost:
            self._collect()
        return self._found

    def _collect(self) -> None:
        while pulled := self._pull():
            self._found += [json.loads(one.message.data) for one in pulled]
            ids = [one.ack_id for one in pulled]
            self._subscriber.acknowledge(
                request={"subscription": self._path, "ack_ids": ids}, timeout=PATIENCE
            )

    def _pull(self) -> list[Any]:
        request = {"subscription": self._path, "max_messages": MOST}
        try:
            answer = self._subscriber.pull(request=request, timeout=SILENCE, retry=None)
        except DeadlineExceeded:
            return []
        return list(answer.received_messages)

    def close(self) -> None:
        self._channel.close()
