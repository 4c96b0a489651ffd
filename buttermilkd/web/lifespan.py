"""A daemon that lives as long as a FastAPI or Starlette application, or any other with a lifespan.

``app = FastAPI(lifespan=alongside(config="conf/buttermilkd.toml"))``
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from buttermilkd.web.companion import companion

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
"""What Starlette and FastAPI take: called with the application; what the block gets is its state."""


def alongside(config: str | os.PathLike[str] | None = None, *, lifespan: Lifespan | None = None) -> Lifespan:
    """A lifespan beside which a daemon runs.

    Where none answers yet, it is started with this configuration, by one among all workers of the server, and it
    ends with the last of them; where one does, as one of systemd's, it is left alone. All reporters of this process
    that were given no socket report to it. What the daemon logs comes out on the server's standard error.

    Args:
        config: the daemon's configuration file; by default it is found as the daemon finds it.
        lifespan: the application's own, which begins when the daemon answers and ends before it does.
    """

    @asynccontextmanager
    async def with_daemon(app: Any) -> AsyncIterator[Any]:
        async with companion(config):
            if lifespan is None:
                yield None
            else:
                async with lifespan(app) as state:
                    yield state

    return with_daemon


def cleanup_context(config: str | os.PathLike[str] | None = None) -> Callable[[Any], AsyncIterator[None]]:
    """The same for aiohttp: ``app.cleanup_ctx.append(cleanup_context("conf/buttermilkd.toml"))``."""

    async def with_daemon(_app: Any) -> AsyncIterator[None]:
        async with companion(config):
            yield

    return with_daemon
