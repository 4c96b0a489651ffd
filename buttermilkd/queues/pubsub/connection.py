"""The two clients of Pub/Sub, each on a channel of our own making; gRPC gives both one TCP connection."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import google.auth
import grpc.aio
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from buttermilkd.errors import UnavailableError
from buttermilkd.queues.pubsub import faults

T = TypeVar("T")

ENDPOINT = "pubsub.googleapis.com:443"
SCOPES = ("https://www.googleapis.com/auth/pubsub",)
OPTIONS: tuple[tuple[str, int], ...] = (
    # By default gRPC would try again only every 20 s after an outage of some length.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A full batch of messages is larger than the 4 MB that gRPC takes by default.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
KEEPALIVE: tuple[tuple[str, int], ...] = (("grpc.keepalive_time_ms", 30_000),)
"""As Google's own client: only Google's servers allow it so often."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A project, and how it is spoken to."""

    project: str
    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient
    identity: str
    """Whom the service takes us for, for people."""
    emulator: str | None
    """Its host and port; None: this is the real service."""

    async def close(self) -> None:
        """Disconnect; calls that are still open are cancelled."""
        await self.publisher.transport.close()
        await self.subscriber.transport.close()

    def topic(self, name: str) -> str:
        """The full name of a topic of the project; a full name stays as it is."""
        return name if name.startswith("projects/") else f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """The full name of a subscription of the project; a full name stays as it is."""
        return name if name.startswith("projects/") else f"projects/{self.project}/subscriptions/{name}"


async def ask(
    doing: str, path: str, call: Callable[..., Awaitable[T]], request: Mapping[str, Any], seconds: float
) -> T:
    """Call once, for ``seconds`` at most; ``doing`` says what is done to ``path``, as in ``faults.translate``.

    Raises:
        UnavailableError, GoneError, MisconfiguredError, InvalidRequestError, ConflictError: see ``api.Broker``.
    """
    try:
        # Without retry=None the client would try for a minute and more, and say nothing.
        return await call(request=request, retry=None, timeout=seconds)
    except GoogleAPICallError as error:
        raise faults.translate(error, doing, path) from error
    except grpc.aio.UsageError as error:
        raise UnavailableError(f"cannot {doing} {path}: the connection is closed") from error


async def connect(project: str, credentials: Path | None, environ: Mapping[str, str]) -> Connection:
    """A connection in the running event loop, which alone may use it; see ``google.open_broker``.

    Raises:
        MisconfiguredError: there are no usable credentials.
    """
    if emulator := environ.get("PUBSUB_EMULATOR_HOST"):
        whom = f"nobody: the emulator at {emulator} asks for no credentials"
        # A proxy that the environment names would be asked even for loopback.
        options = [*OPTIONS, ("grpc.enable_http_proxy", 0)]
        return connected(project, lambda: grpc.aio.insecure_channel(emulator, options), whom, emulator)
    try:
        found = await asyncio.to_thread(_credentials, credentials)
    except (GoogleAuthError, OSError, ValueError) as error:
        raise faults.no_credentials(error, credentials) from error

    def authenticated() -> grpc.aio.Channel:
        return PublisherGrpcAsyncIOTransport.create_channel(
            ENDPOINT, credentials=found, scopes=SCOPES, options=[*OPTIONS, *KEEPALIVE]
        )

    return connected(project, authenticated, identity(found))


def connected(
    project: str, channel: Callable[[], grpc.aio.Channel], whom: str, emulator: str | None = None
) -> Connection:
    """The clients on channels that ``channel`` makes. Given one, they look for no credentials of their own."""
    return Connection(
        project=project,
        publisher=PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel())),
        subscriber=SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel())),
        identity=whom,
        emulator=emulator,
    )


def _credentials(file: Path | None) -> Credentials:
    """Blocks: without a file, the machine's metadata server may be asked."""
    if file is None:
        found, _ = google.auth.default(scopes=SCOPES)
    else:
        with warnings.catch_warnings():
            # It warns of files from strangers; this one is the administrator's own.
            warnings.simplefilter("ignore", DeprecationWarning)
            found, _ = google.auth.load_credentials_from_file(str(file), scopes=SCOPES)
    return found


def identity(credentials: Credentials) -> str:
    """Whom these credentials are of, as far as they say."""
    account = getattr(credentials, "service_account_email", None) or getattr(credentials, "account", None)
    if account and account != "default":
        return str(account)
    return "this machine's own account" if account else "a user's own account"
