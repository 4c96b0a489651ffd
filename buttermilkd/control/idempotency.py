"""Asking twice with the same ``Idempotency-Key`` is asking once: the first answer is kept, and given again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from buttermilkd.control.services import Call, Services
from buttermilkd.errors import ConflictError, InvalidRequestError
from buttermilkd.ledger import queries
from buttermilkd.ledger.creation import Answer

HEADER = "Idempotency-Key"
LONGEST_KEY = 255


def request_key(call: Call) -> str | None:
    """The call's key. Raises InvalidRequestError."""
    key = call.request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise InvalidRequestError(
            f"cannot use this {HEADER}: it must have 1 to {LONGEST_KEY} printable characters"
        )
    return key


def kept(key: str, call: Call, digest: str, status: int, body: str) -> Answer:
    """The answer to keep for this call."""
    return Answer(key, call.peer.uid, _named(call, digest), status, body)


def _named(call: Call, digest: str) -> str:
    return f"{call.request.method} {call.request.path} {digest}"


@asynccontextmanager
async def answered(services: Services, call: Call, digest: str) -> AsyncIterator[web.Response | None]:
    """Within it no other call with this key goes on; yields the answer that it had before, if any.

    Raises:
        ConflictError: the key was used for another request.
    """
    key = request_key(call)
    if key is None:
        yield None
        return
    name = (call.peer.uid, key)
    lock = services.keys.setdefault(name, asyncio.Lock())
    try:
        async with lock:
            earlier = await services.ledger.query(lambda db: queries.answer(db, key, call.peer.uid))
            if earlier is not None and earlier[0] != _named(call, digest):
                raise ConflictError(
                    f"cannot use {HEADER} {key[:80]!r}: it was used for another request",
                    hint="make a new key",
                )
            yield (
                None
                if earlier is None
                else web.Response(
                    text=earlier[2],
                    status=earlier[1],
                    content_type="application/json",
                    headers={"Idempotency-Replayed": "true"},
                )
            )
    finally:
        if not lock.locked():
            services.keys.pop(name, None)
