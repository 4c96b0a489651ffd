"""A small Pub/Sub server in the test's own process, for what the emulator cannot show.

It keeps messages well enough for one consumer, records what it is asked, and answers as a test says: with a status,
or never. Everything runs in the test's event loop.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.iam.v1 import iam_policy_pb2
from google.protobuf import empty_pb2, timestamp_pb2
from google.pubsub_v1 import types

from buttermilkd.bell import Bell

_PROTO_PLUS: dict[str, tuple[Any, Any]] = {
    "CreateTopic": (types.Topic, types.Topic),
    "GetTopic": (types.GetTopicRequest, types.Topic),
    "DeleteTopic": (types.DeleteTopicRequest, None),
    "Publish": (types.PublishRequest, types.PublishResponse),
    "CreateSubscription": (types.Subscription, types.Subscription),
    "GetSubscription": (types.GetSubscriptionRequest, types.Subscription),
    "DeleteSubscription": (types.DeleteSubscriptionRequest, None),
    "Pull": (types.PullRequest, types.PullResponse),
    "ModifyAckDeadline": (types.ModifyAckDeadlineRequest, None),
    "Acknowledge": (types.AcknowledgeRequest, None),
}
"""What each method takes and gives; None: nothing."""


@dataclass(frozen=True)
class Status:
    """An answer that is an error."""

    code: grpc.StatusCode
    details: str = "because the test says so"


class Never:
    """No answer at all."""


class FakePubsub(grpc.GenericRpcHandler):
    """The server; ``on`` says how it answers."""

    def __init__(self) -> None:
        self.host = ""
        """Its host and port."""
        self.requests: list[tuple[str, Any]] = []
        """Method and request, in the order of their coming."""
        self.broken_off: list[str] = []
        """Methods whose calls the client left before their answer, or their deadline was over."""
        self.topics: dict[str, types.Topic] = {}
        self.subscriptions: dict[str, types.Subscription] = {}
        self.denied: set[str] = set()
        """Permissions that callers lack."""
        self.now = 1_800_000_000.0
        """The time of publication of what is published."""
        self._answers: dict[str, list[Status | Never]] = defaultdict(list)
        self._waiting: dict[str, list[types.PubsubMessage]] = defaultdict(list)
        self._leased: dict[str, tuple[str, types.PubsubMessage]] = {}
        self._ids = itertools.count(1)
        self._bell = Bell()

    @property
    def environ(self) -> Mapping[str, str]:
        """What clients of it need."""
        return {"PUBSUB_EMULATOR_HOST": self.host}

    def on(self, method: str, *answers: Status | Never) -> None:
        """Answer the next calls of this method so; the last one stays."""
        self._answers[method] = list(answers)

    def works(self, method: str) -> None:
        """Answer it as Pub/Sub does, again."""
        del self._answers[method]

    def asked(self, method: str) -> list[Any]:
        """The requests to this method."""
        return [request for name, request in self.requests if name == method]

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once this holds; it is looked at after whatever is asked, answered or broken off."""
        while not condition():
            await self._bell.heard()

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = handler_call_details.method.rpartition("/")[2]
        if method == "TestIamPermissions":
            takes, gives = iam_policy_pb2.TestIamPermissionsRequest, iam_policy_pb2.TestIamPermissionsResponse
            read, write = takes.FromString, gives.SerializeToString
        elif method in _PROTO_PLUS:
            request_type, response_type = _PROTO_PLUS[method]
            read = request_type.deserialize
            write = response_type.serialize if response_type else empty_pb2.Empty.SerializeToString
        else:
            return None

        async def behave(request: Any, context: Any) -> Any:
            return await self._behave(method, request, context)

        return grpc.unary_unary_rpc_method_handler(behave, read, write)

    async def _behave(self, method: str, request: Any, context: Any) -> Any:
        self.requests.append((method, request))
        self._bell.ring()
        try:
            scripted = self._answers.get(method)
            answer = (scripted.pop(0) if len(scripted) > 1 else scripted[0]) if scripted else None
            if isinstance(answer, Never):
                await asyncio.Event().wait()
            if isinstance(answer, Status):
                await context.abort(answer.code, answer.details)
            return await getattr(self, f"_{method}")(request, context)
        except asyncio.CancelledError:
            self.broken_off.append(method)
            raise
        finally:
            self._bell.ring()

    async def _found(self, among: Mapping[str, Any], name: str, context: Any) -> Any:
        if name not in among:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")
        return among[name]

    async def _made(self, among: dict[str, Any], made: Any, context: Any) -> Any:
        if made.name in among:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists ({made.name}).")
        among[made.name] = made
        return made

    async def _CreateTopic(self, request: types.Topic, context: Any) -> Any:  # noqa: N802 - as the methods are called
        return await self._made(self.topics, request, context)

    async def _GetTopic(self, request: types.GetTopicRequest, context: Any) -> Any:  # noqa: N802
        return await self._found(self.topics, request.topic, context)

    async def _DeleteTopic(self, request: types.DeleteTopicRequest, context: Any) -> Any:  # noqa: N802
        await self._found(self.topics, request.topic, context)
        del self.topics[request.topic]
        return empty_pb2.Empty()

    async def _CreateSubscription(self, request: types.Subscription, context: Any) -> Any:  # noqa: N802
        await self._found(self.topics, request.topic, context)
        return await self._made(self.subscriptions, request, context)

    async def _GetSubscription(self, request: types.GetSubscriptionRequest, context: Any) -> Any:  # noqa: N802
        return await self._found(self.subscriptions, request.subscription, context)

    async def _DeleteSubscription(self, request: types.DeleteSubscriptionRequest, context: Any) -> Any:  # noqa: N802
        await self._found(self.subscriptions, request.subscription, context)
        del self.subscriptions[request.subscription]
        return empty_pb2.Empty()

    async def _Publish(self, request: types.PublishRequest, context: Any) -> Any:  # noqa: N802
        await self._found(self.topics, request.topic, context)
        for message in request.messages:
            message.message_id = str(next(self._ids))
            nanos = round(self.now * 1e9)
            message.publish_time = timestamp_pb2.Timestamp(seconds=nanos // 10**9, nanos=nanos % 10**9)
        for name, subscription in self.subscriptions.items():
            if subscription.topic == request.topic:
                self._waiting[name] += request.messages
        return types.PublishResponse(message_ids=[message.message_id for message in request.messages])

    async def _Pull(self, request: types.PullRequest, context: Any) -> Any:  # noqa: N802
        await self._found(self.subscriptions, request.subscription, context)
        waiting = self._waiting[request.subscription]
        await self.until(lambda: waiting)
        received = []
        for message in waiting[: request.max_messages]:
            ack_id = f"{request.subscription}:{next(self._ids)}"
            self._leased[ack_id] = (request.subscription, message)
            received.append(types.ReceivedMessage(ack_id=ack_id, message=message))
        del waiting[: request.max_messages]
        return types.PullResponse(received_messages=received)

    async def _ModifyAckDeadline(self, request: types.ModifyAckDeadlineRequest, _: Any) -> Any:  # noqa: N802
        for ack_id in request.ack_ids if request.ack_deadline_seconds == 0 else ():
            if ack_id in self._leased:
                name, message = self._leased.pop(ack_id)
                self._waiting[name].append(message)
        return empty_pb2.Empty()

    async def _Acknowledge(self, request: types.AcknowledgeRequest, _: Any) -> Any:  # noqa: N802
        for ack_id in request.ack_ids:
            self._leased.pop(ack_id, None)
        return empty_pb2.Empty()

    async def _TestIamPermissions(self, request: Any, _: Any) -> Any:  # noqa: N802
        granted = [permission for permission in request.permissions if permission not in self.denied]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)


@asynccontextmanager
async def fake_pubsub(options: Sequence[tuple[str, Any]] = ()) -> AsyncIterator[FakePubsub]:
    """One on a free loopback port, for as long as this lasts."""
    fake = FakePubsub()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), *options])
    server.add_generic_rpc_handlers((fake,))
    fake.host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(None)
