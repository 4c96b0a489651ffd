"""Reading the configuration again while the daemon runs: all of it is checked before any of it counts."""

import asyncio
import logging
from collections.abc import Callable

from buttermilkd.bell import Bell
from buttermilkd.config.changes import Change, Changes, compare
from buttermilkd.config.in_force import InForce
from buttermilkd.config.settings import Settings
from buttermilkd.errors import ButtermilkError, MisconfiguredError, UnavailableError
from buttermilkd.host.notifier import Notifier
from buttermilkd.journal import Kind, about
from buttermilkd.messages import ChangeView, FlowChangeView, ReloadedView
from buttermilkd.plurals import count

logger = logging.getLogger(__name__)

Read = Callable[[str], Settings]
"""Reads and checks the whole configuration, for a daemon whose jobs wait in this queue. Raises MisconfiguredError."""

Rooms = Callable[[Settings], Callable[[], None]]
"""Looks up in a thread what rooms need for these settings; what it returns has every room work by them, and must not fail."""


class Reloading:
    """Carries out reloads, one at a time, whoever asks for them."""

    def __init__(
        self,
        *,
        read: Read,
        in_force: InForce,
        rooms: Rooms,
        notifier: Notifier,
        sentence: Callable[[], str],
        stopping: Callable[[], bool],
    ) -> None:
        """Put together.

        ``rooms`` is for the settings that will be in force. ``sentence`` says how things are, and ``stopping`` whether
        the daemon is on its way out.
        """
        self._read = read
        self._in_force = in_force
        self._rooms = rooms
        self._notifier = notifier
        self._sentence = sentence
        self._stopping = stopping
        self._one = asyncio.Lock()

    async def reload(self) -> ReloadedView:
        """Read the configuration, and work by it.

        Raises:
            MisconfiguredError: it is bad; nothing has changed.
            UnavailableError: the daemon is stopping.
        """
        async with self._one:
            if self._stopping():
                raise UnavailableError(
                    "cannot reload: the daemon is stopping", hint="the next one reads it anew"
                )
            self._notifier.reloading()
            try:
                return _view(await self._reloaded())
            finally:
                if not self._stopping():
                    self._notifier.ready(self._sentence())

    async def _reloaded(self) -> Changes:
        try:
            changes, change_over = await asyncio.to_thread(self._prepared, self._in_force.settings)
        except MisconfiguredError as error:
            self._in_force.problem = _told(error)
            refused = about(kind=Kind.RELOAD_REFUSED)
            for line in error.problems or (str(error),):
                logger.error("%s", line, extra=refused)  # noqa: TRY400 - the fault is in the file, not in the code
            logger.error("the configuration is bad: what was in force before stays so", extra=refused)  # noqa: TRY400
            raise
        # From here on nothing waits: every room changes over in the same turn of the loop.
        self._in_force.put(changes.in_force)
        self._in_force.problem = None
        self._in_force.needs_restart = tuple(change.key for change in changes.needs_restart)
        change_over()
        _log(changes)
        return changes

    def _prepared(self, before: Settings) -> tuple[Changes, Callable[[], None]]:
        """What is other now, and what has all rooms work by it. Raises MisconfiguredError."""
        changes = compare(before, self._read(before.queue))
        return changes, self._rooms(changes.in_force)


async def follow_signals(hangups: Bell, reloading: Reloading) -> None:
    """Reload at each SIGHUP, those included that came before this began."""
    seen = 0
    while True:
        await hangups.heard(seen)
        seen = hangups.ring_count
        try:
            await reloading.reload()
        except MisconfiguredError:
            continue  # the log has each problem already
        except ButtermilkError as error:
            logger.warning("%s", error)


def _told(error: MisconfiguredError) -> str:
    """The problem in one line, for those who look at the daemon later."""
    more = len(error.problems) - 1
    return f"{error.problems[0]} (and {count(more, 'more problem')})" if more > 0 else str(error)


def _log(changes: Changes) -> None:
    told = "; ".join(changes.lines) or "nothing has changed"
    logger.info("reloaded: %s", told, extra=about(kind=Kind.RELOADED))
    for change in changes.needs_restart:
        logger.warning(
            "%s: needs a restart, and does not hold before", change, extra=about(kind=Kind.RELOADED)
        )


def _view(changes: Changes) -> ReloadedView:
    return ReloadedView(
        applied=[_change(one) for one in changes.applied],
        added=list(changes.added),
        changed=[FlowChangeView(flow=one.name, keys=list(one.keys)) for one in changes.changed],
        removed=list(changes.removed),
        needs_restart=[_change(one) for one in changes.needs_restart],
        summary=changes.lines,
    )


def _change(one: Change) -> ChangeView:
    return ChangeView(key=one.key, before=one.before, after=one.after)
