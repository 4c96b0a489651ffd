"""Opens Google Cloud Pub/Sub. Imports Google's packages only then: they take 0.3 s and 40 MB."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from buttermilkd.errors import MisconfiguredError

if TYPE_CHECKING:
    from buttermilkd.queues.pubsub.adapter import GoogleBroker

_PACKAGES = ("google", "grpc")
_AT_START = {
    # With its fork handlers, one in four of the children that a program starts beside a live client dies by SIGSEGV
    # (grpc/grpc#43055).
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # It tells of each connection that ends, on standard error; that is in our own errors.
    "GRPC_VERBOSITY": "ERROR",
}
"""What gRPC reads in the environment when it begins."""


async def open_broker(project: str, credentials: Path | None, environ: Mapping[str, str]) -> "GoogleBroker":
    """A broker for this project; nothing is asked of the service yet.

    Whatever else imports gRPC, or a module of ours that does, is to be imported after this: gRPC reads its environment
    when it is imported.

    Args:
        project: the Google Cloud project's id.
        credentials: a file of any kind that google-auth reads; None: Application Default Credentials.
        environ: says in ``PUBSUB_EMULATOR_HOST`` where an emulator is, which needs no credentials.

    Raises:
        MisconfiguredError: Google's packages are not installed, or there are no usable credentials.
    """
    with _quiet_and_without_forks():
        # In a thread, since both import and look-up of credentials block: the latter up to 12 s.
        adapter = await asyncio.to_thread(_load)
        connection = await adapter.connect(project, credentials, environ)
    return adapter.GoogleBroker(connection)  # type: ignore[no-any-return]


def _load() -> ModuleType:
    try:
        import_module("grpc")  # without it Google's own packages end in an AttributeError
        return import_module("buttermilkd.queues.pubsub.adapter")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise MisconfiguredError(
            f"cannot use Pub/Sub: the Python package {error.name} is not installed",
            hint="pip install 'buttermilkd[pubsub]'",
        ) from error


@contextmanager
def _quiet_and_without_forks() -> Iterator[None]:
    """Only gRPC is to read this: programs that are started later get the environment as it was."""
    before = {name: os.environ.get(name) for name in _AT_START}
    os.environ.update(_AT_START)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
