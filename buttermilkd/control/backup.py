"""The route that hands out a copy of the ledger."""

import asyncio
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from buttermilkd.control.services import Call, Services
from buttermilkd.errors import UnavailableError
from buttermilkd.journal import Kind, about
from buttermilkd.ledger.backup import copy_for_asker
from buttermilkd.messages import LEDGER

logger = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
PATIENCE = 60.0
"""Seconds in which whoever asked has to take the next mebibyte."""


async def backup(services: Services, call: Call) -> web.StreamResponse:
    """The ledger as it was at one moment after the call, as one SQLite file. Jobs go on meanwhile."""
    descriptor = await _copied(services.settings.daemon.state_dir)
    try:
        size = os.fstat(descriptor).st_size
        told = about(kind=Kind.CHANGE_ASKED, peer_uid=call.peer.uid)
        logger.info(
            "a copy of the ledger, %d MiB, goes to uid %d", size // 2**20 + 1, call.peer.uid, extra=told
        )
        response = web.StreamResponse(headers={"Content-Type": LEDGER})
        response.content_length = size
        # Who goes before the end is no error, and whom nothing can be told any more finds the copy too short.
        with suppress(ConnectionError):
            await response.prepare(call.request)
            await _send(response, descriptor, size, call.request)
    finally:
        os.close(descriptor)
    return response


async def _send(response: web.StreamResponse, descriptor: int, size: int, request: web.Request) -> None:
    """Raises ConnectionError: whoever asked has gone, or takes nothing for too long, which ends the connection."""
    try:
        for at in range(0, size, _CHUNK):
            chunk = await asyncio.to_thread(os.pread, descriptor, _CHUNK, at)
            async with asyncio.timeout(PATIENCE):
                await response.write(chunk)
        await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()


async def _copied(folder: Path) -> int:
    """A descriptor of the copy; where nobody waits for it any more, it is broken off at its next step."""
    stop = threading.Event()
    copying = asyncio.get_running_loop().run_in_executor(None, copy_for_asker, folder, stop)
    try:
        return await asyncio.shield(copying)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([copying])
        if copying.exception() is None:
            os.close(copying.result())
        elif not isinstance(copying.exception(), UnavailableError):
            logger.warning("%s", copying.exception())
        raise
