"""The connection to Pub/Sub: opened when it is first needed, tried again for as long as it takes, mended when empty."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from buttermilkd.clock import Clock
from buttermilkd.errors import MisconfiguredError, UnavailableError
from buttermilkd.journal import Kind, about
from buttermilkd.queues.pubsub.api import Broker, GoneError

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
"""Seconds between two tries."""


class Link:
    """One for a daemon. What it is asked to do is done in the end, or its caller is cancelled."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Broker]],
        prepare: Callable[[Broker], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        """``prepare`` makes topics and subscriptions, or raises MisconfiguredError with what is missing.

        It tells whether any is new, so that what was published before never came to it.
        """
        self._connect = connect
        self._prepare = prepare
        self._clock = clock
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards no secret
        self._opening = asyncio.Lock()
        self._broker: Broker | None = None
        self._is_prepared = False
        self._was_gone = False
        self._troubles: dict[str, str] = {}
        """What is wrong, by what was to be done: that something else works proves nothing."""
        self.on_emptied: Callable[[], None] = lambda: None
        """Called when topics or subscriptions had been lost, and are there again."""
        self.on_new: Callable[[], None] = lambda: None
        """Called when topics or subscriptions are new."""
        self.losses = 0
        """How often it was seen that what was published may be lost: what is published meanwhile may be, too."""

    @property
    def trouble(self) -> str | None:
        """Why Pub/Sub cannot be used at present."""
        return next(iter(self._troubles.values()), None)

    async def do(self, what: str, call: Callable[[Broker], Awaitable[T]]) -> T:
        """Call with the broker, again and again until that succeeds; ``what`` names it, so that trouble with it can end.

        Raises:
            InvalidRequestError: it never will.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                result = await call(await self._prepared())
            except GoneError as error:
                self._is_prepared, self._was_gone = False, True
                self.losses += 1
                self._note(what, error)
            except (UnavailableError, MisconfiguredError) as error:
                self._note(what, error)
            else:
                self._forget(what)
                return result
            await self._clock.sleep(pause * (0.5 + self._jitter.random() / 2))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def once(self, call: Callable[[Broker], Awaitable[T]]) -> T:
        """Call with the broker, once. Raises what it raises, and UnavailableError where there is none."""
        if self._broker is None:
            raise UnavailableError("cannot use Pub/Sub: it was never reached")
        return await call(self._broker)

    async def _prepared(self) -> Broker:
        async with self._opening:
            if self._broker is None:
                self._broker = await self._connect()
            if not self._is_prepared:
                is_new = await self._prepare(self._broker)
                self._is_prepared = True
                # A topic is there before its subscription: what came to it in between has come to nobody.
                self.losses += int(self._was_gone or is_new)
                logger.info("Pub/Sub is ready")
                if self._was_gone:
                    self._was_gone = False
                    self.on_emptied()
                if is_new:
                    self.on_new()
            return self._broker

    def _note(self, what: str, error: UnavailableError | MisconfiguredError) -> None:
        text = str(error)
        if text not in self._troubles.values():
            # It is tried again anyway: a hint to wait says nothing more.
            hint = f" ({error.hint})" if error.hint and not error.hint.startswith("wait") else ""
            told = about(kind=Kind.QUEUE_UNREACHABLE)
            logger.error("%s%s; trying again", text, hint, extra=told)
            for problem in error.details.get("problems", ()):
                logger.error("%s", problem, extra=told)
        self._troubles[what] = text

    def _forget(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None and not self._troubles:
            logger.info("Pub/Sub can be used again", extra=about(kind=Kind.QUEUE_BACK))

    async def close(self) -> None:
        """Let the connection go."""
        if self._broker is not None:
            await self._broker.close()
