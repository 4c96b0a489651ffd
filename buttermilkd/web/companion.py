"""A daemon beside a web server: started where none answers, once among many workers, and ended with the last of them.

Each worker holds a shared lock on one file, the lifeline, which it gives to the daemon that it starts: the daemon
ends when nobody holds it any more, whichever way the workers ended. The one that holds a second lock starts it.
"""

import asyncio
import fcntl
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LIFELINE = "alongside.lock"
_KEEPER = "alongside.keeper.lock"
_READY_PATIENCE = 5.0
"""Seconds for which a web server's start waits for the daemon, and then goes on without."""
_END_PATIENCE = 10.0
"""Seconds for which the last worker's end waits for the daemon's."""
_NOTICE_PATIENCE = 1.0
"""Seconds in which a daemon has noticed that nobody holds its lifeline."""
_WATCH_EVERY = 5.0
_LOOK_EVERY = 0.5
_LOOK_SOON = 0.05
"""Seconds between two looks: while a daemon answers, while another worker sees to it, while it starts or ends."""
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_BAD_CONFIG = 78
"""The daemon's exit status where the same start would fail the same way."""
_STANDARD_ERROR = 2


class Lock:
    """A file lock that the kernel releases with the process."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def take(self, kind: int) -> bool:
        """Whether this process holds it now, ``kind`` being ``LOCK_SH`` or ``LOCK_EX``."""
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Also for processes that were forked while it was held."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


class Companion:
    """This worker's part in keeping a daemon beside the server."""

    def __init__(self, control: Path, command: Sequence[str]) -> None:
        """``control`` is the daemon's control socket; ``command`` starts one, and takes ``--lifeline FILE``.

        Raises:
            OSError: there is no place for its locks.
        """
        control.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._control = control
        self._command = [*command, "--lifeline", str(control.with_name(LIFELINE))]
        self._lifeline = Lock(control.with_name(LIFELINE))
        self._keeper = Lock(control.with_name(_KEEPER))
        self._child: subprocess.Popen[bytes] | None = None
        self._delay = _FIRST_DELAY
        self.is_ready = asyncio.Event()
        """A daemon answers."""

    async def keep(self) -> None:
        """See to it that a daemon answers, until cancelled. Never raises anything else."""
        try:
            while not self._lifeline.take(fcntl.LOCK_SH):  # noqa: ASYNC110 - the one before is ending
                await asyncio.sleep(_LOOK_SOON)
            while True:
                pause = _LOOK_EVERY
                if self._answers():
                    self.is_ready.set()
                    self._delay = _FIRST_DELAY
                    pause = _WATCH_EVERY
                elif self._keeper.take(fcntl.LOCK_EX):
                    if not await self._start():
                        return
                    pause = _LOOK_SOON
                await asyncio.sleep(pause)
        except OSError as error:
            logger.error("cannot keep a daemon beside this server: %s", error)  # noqa: TRY400

    async def _start(self) -> bool:
        """Start one, if none is starting; False where there is no use in trying it again."""
        if self._child is None:
            self._child = subprocess.Popen(  # noqa: ASYNC220 - takes some milliseconds, once
                self._command, stdin=subprocess.DEVNULL, stdout=_STANDARD_ERROR, start_new_session=True
            )
        elif (status := self._child.poll()) is not None:
            self._child = None
            if status == _BAD_CONFIG:
                logger.error("the daemon beside this server cannot start: see what it says above")
                return False
            logger.warning(
                "the daemon beside this server has ended (%d); again in %.0f s", status, self._delay
            )
            await asyncio.sleep(self._delay)
            self._delay = min(2 * self._delay, _LONGEST_DELAY)
        return True

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(os.fspath(self._control)) == 0

    async def leave(self) -> None:
        """Need it no longer; wait for its end where nobody else does, but not for ever."""
        try:
            if self._is_last():
                self._lifeline.release()
                await self._until_ended()
            self._lifeline.release()
        finally:
            if self._child is not None and self._child.poll() is None:
                self._child.returncode = 0  # others need it still, and nobody waits for it here
            self._lifeline.close()
            self._keeper.close()

    def _is_last(self) -> bool:
        """Whether no other process holds the lifeline, but perhaps a daemon that has just noticed that."""
        return self._lifeline.take(fcntl.LOCK_EX) or not self._lifeline.take(fcntl.LOCK_SH)

    async def _until_ended(self) -> None:
        """The daemon takes the lifeline for itself, and lets go of it with its end; none may be on this lifeline."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTICE_PATIENCE):
                while self._lifeline.take(fcntl.LOCK_SH):
                    self._lifeline.release()
                    await asyncio.sleep(_LOOK_SOON)
            async with asyncio.timeout(_END_PATIENCE):
                while not self._lifeline.take(fcntl.LOCK_SH):  # noqa: ASYNC110 - another process's
                    await asyncio.sleep(_LOOK_SOON)
                while self._child is not None and self._child.poll() is None:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SOON)


@asynccontextmanager
async def companion(config: str | os.PathLike[str] | None) -> AsyncIterator[None]:
    """A daemon with this configuration answers while the block lasts, as far as that can be had.

    Whatever goes wrong is logged, and nothing else: a web server runs without a daemon as well as with one.
    """
    kept = _prepared(config)
    if kept is None:
        yield
        return
    keeping = asyncio.ensure_future(kept.keep())
    try:
        ready = asyncio.ensure_future(kept.is_ready.wait())
        await asyncio.wait({ready, keeping}, timeout=_READY_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await kept.leave()


def _prepared(config: str | os.PathLike[str] | None) -> Companion | None:
    """None where there can be none, which is logged."""
    from buttermilkd.client import Client  # noqa: PLC0415 - takes longer to import than all that only reports
    from buttermilkd.errors import ButtermilkError  # noqa: PLC0415
    from buttermilkd.places import ACTIVITY_SOCKET  # noqa: PLC0415
    from buttermilkd.web.reporter import REPORTERS  # noqa: PLC0415

    command = [sys.executable, "-P", "-m", "buttermilkd"]
    if config is not None:
        command += ["--config", os.fspath(config)]
    try:
        control = Client(config=config).socket
        REPORTERS.use_socket(control.with_name(ACTIVITY_SOCKET))
        return Companion(control, command)
    except (OSError, ButtermilkError) as error:
        logger.error("cannot start a daemon beside this server: %s", error)  # noqa: TRY400
        return None
