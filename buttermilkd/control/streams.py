"""Answers that are sent as they come about, for as long as somebody reads them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from buttermilkd.control.services import Call


async def stream(call: Call, content_type: str, pieces: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Send the pieces; an empty one is a look at whether anybody still waits for the next.

    Raises:
        ConnectionError: whoever asked went as a piece was sent.
        Exception: of ``pieces``. What was sent so far cannot be taken back, so it is broken off: it must not seem whole.
    """
    response = web.StreamResponse(headers={"Content-Type": content_type})
    async with aclosing(pieces):
        try:
            await response.prepare(call.request)
            async for piece in pieces:
                if has_gone(call.request):
                    return response
                if piece:
                    await response.write(piece)
            await response.write_eof()
        except Exception:
            if call.request.transport is not None:
                call.request.transport.abort()
            raise
    return response


def has_gone(request: web.Request) -> bool:
    """Whether nobody waits for the answer any more."""
    return request.transport is None or request.transport.is_closing()
