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
from time import monotonic

from buttermilkd.web.locks import Lock

logger = logging.getLogger(__name__)

LIFELINE = "alongside.lock"
_KEEPER = "alongside.keeper.lock"
_READY_PATIENCE = 5.0
"""Seconds for which a web server's start waits for the daemon, and then goes on without."""
_END_PATIENCE = 10.0
"""Seconds for which the last worker's end waits for the daemon's."""
_OTHERS_PATIENCE = 60.0
"""Seconds for which another's daemon may be silent, as when it is restarted, before one is started in its place."""
_WATCH_EVERY = 5.0
_LOOK_EVERY = 0.5
_LOOK_SOON = 0.05
"""Seconds between two looks: while a daemon answers, while another worker sees to it, while it starts or ends."""
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_BAD_CONFIG = 78
"""The daemon's exit status where the same start would fail the same way."""
_STANDARD_ERROR = 2


class Companion:
    """This worker's part in keeping a daemon beside the server."""

    def __init__(
        self, control: Path, command: Sequence[str], *, others_patience: float = _OTHERS_PATIENCE
    ) -> None:
        """``control`` is the daemon's control socket; ``command`` starts one, and takes ``--lifeline FILE``."""
        self.control = control
        self._command = [*command, "--lifeline", str(control.with_name(LIFELINE))]
        self._others_patience = others_patience
        self._locks: tuple[Lock, Lock] | None = None
        """The lifeline and the keeper's; None where there is no place for them."""
        self._child: subprocess.Popen[bytes] | None = None
        self._delay = _FIRST_DELAY
        self._trouble = ""
        self._answered_at: float | None = None
        """When a daemon answered last that hangs on no lifeline: another's, which is left alone."""
        self.is_ready = asyncio.Event()
        """A daemon answers."""

    async def keep(self) -> None:
        """See to it that a daemon answers, until cancelled, or until there is no use in trying."""
        while True:
            try:
                pause = await self._see_to_it()
            except OSError as error:
                pause = _WATCH_EVERY
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    logger.error("cannot keep a daemon beside this server: %s; trying again", error)  # noqa: TRY400
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def _see_to_it(self) -> float | None:
        """Do what is to be done now; seconds until the next look, None where there need be none. Raises OSError."""
        answers = self._answers()
        locks = self._opened(lenient=answers)
        if locks is not None and not locks[0].take(fcntl.LOCK_SH):
            return _LOOK_SOON  # the daemon before is ending
        if answers:
            self.is_ready.set()
            self._delay = _FIRST_DELAY
            # One of ours may die in this moment, after its answer.
            is_ours = self._child is not None or (locks is not None and locks[0].is_watched)
            self._answered_at = None if is_ours else monotonic()
            return _WATCH_EVERY
        silent_since = self._answered_at
        is_anothers = silent_since is not None and monotonic() - silent_since < self._others_patience
        if is_anothers or locks is None or not locks[1].take(fcntl.LOCK_EX):
            return _LOOK_EVERY
        return _LOOK_SOON if await self._start() else None

    def _opened(self, *, lenient: bool) -> tuple[Lock, Lock] | None:
        """The locks, anew where their folder was removed meanwhile. Raises OSError, unless ``lenient``."""
        if self._locks is not None and self._locks[0].is_there:
            return self._locks
        self._close()
        try:
            self.control.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._locks = _locks(self.control.with_name(LIFELINE), self.control.with_name(_KEEPER))
        except OSError:
            if not lenient:
                raise
        return self._locks

    async def _start(self) -> bool:
        """Start one, if none is starting; False where there is no use in trying it again. Raises OSError."""
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
            return probe.connect_ex(os.fspath(self.control)) == 0

    async def leave(self) -> None:
        """Need it no longer; wait for its end where nobody else does, but not for ever."""
        try:
            if self._locks is not None:
                await self._let_go(*self._locks)
        finally:
            if self._child is not None and self._child.poll() is None:
                self._child.returncode = 0  # others need it still, and nobody waits for it here
            self._close()

    async def _let_go(self, lifeline: Lock, keeper: Lock) -> None:
        """What is released here is so for children too that were forked meanwhile."""
        keeper.release()
        # Nobody else holds the lifeline, but perhaps a daemon that has just noticed that.
        is_last = lifeline.take(fcntl.LOCK_EX) or not lifeline.take(fcntl.LOCK_SH)
        lifeline.release()
        if is_last:
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_PATIENCE):
                    while lifeline.is_watched or (self._child is not None and self._child.poll() is None):  # noqa: ASYNC110
                        await asyncio.sleep(_LOOK_SOON)

    def _close(self) -> None:
        for lock in self._locks or ():
            lock.close()
        self._locks = None


def _locks(lifeline: Path, keeper: Path) -> tuple[Lock, Lock]:
    """Both or, with an OSError, none: where the second cannot be had, it is tried again and again."""
    first = Lock(lifeline)
    try:
        return first, Lock(keeper)
    except OSError:
        first.close()
        raise


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
        if not kept.is_ready.is_set() and not keeping.done():
            logger.warning("no daemon answers at %s yet; the server starts without", kept.control)
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await kept.leave()


def _prepared(config: str | os.PathLike[str] | None) -> Companion | None:
    """None where there can be none, which is logged."""
    # These take longer to import than all that only reports.
    from buttermilkd.config.locate import control_socket  # noqa: PLC0415
    from buttermilkd.errors import ButtermilkError  # noqa: PLC0415
    from buttermilkd.places import ACTIVITY_SOCKET  # noqa: PLC0415
    from buttermilkd.web.reporter import REPORTERS  # noqa: PLC0415

    command = [sys.executable, "-P", "-m", "buttermilkd"]
    if config is not None:
        command += ["--config", os.fspath(config)]
    try:
        # Where the daemon will listen: the variable that names another socket is for its clients.
        environ = {name: value for name, value in os.environ.items() if name != "BUTTERMILKD_CONTROL_SOCKET"}
        control = control_socket(None, None if config is None else Path(config), environ)
        REPORTERS.use_socket(control.with_name(ACTIVITY_SOCKET))
        return Companion(control, command)
    except ButtermilkError as error:
        logger.error("cannot start a daemon beside this server: %s", error)  # noqa: TRY400
        return None
