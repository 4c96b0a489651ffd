"""What the users of one application do in this process, counted as requests and websockets come and go."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol
from weakref import ref

from buttermilkd.web.rhythm import Counts


class Bell:
    """Wakes who tells of the counts, when it wants to be woken."""

    __slots__ = ("at_begin", "at_end", "ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        """``ring`` mutes the bell, and never raises."""
        self.at_begin = True
        """Ring when something begins: nothing has been going on."""
        self.at_end = False
        """Ring when the last request ends."""
        self.ring = ring

    def mute(self) -> None:
        self.at_begin = self.at_end = False


class Activity:
    """Counts for one thread, such as that of an event loop. Every call takes a fraction of a microsecond.

    The order matters in which a count is changed and the bell is looked at: the one who tells does both the
    other way round, so that one of the two always sees what the other did.
    """

    __slots__ = ("_bell", "_requests", "active_at", "total", "websockets")

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.reset()

    def reset(self) -> None:
        """Nothing is going on, and nothing has been."""
        self._requests = 0
        self.websockets = 0
        """Open."""
        self.total = 0
        """Requests and websockets so far."""
        self.active_at = monotonic()
        """When users did something last: a request's end, a websocket's opening or message."""

    @property
    def requests(self) -> int:
        """In flight."""
        return self._requests

    def counts(self) -> Counts:
        """All of it at this moment, for the one who tells."""
        return Counts(self.requests, self.websockets, self.total, self.active_at)

    def begin(self) -> None:
        """A request has begun."""
        self._requests += 1
        self.total += 1
        if self._bell.at_begin:
            self._bell.ring()

    def end(self) -> None:
        """It has ended, with everything that belongs to it."""
        self.active_at = monotonic()
        if self._requests:  # not where a process was forked in the midst of a request: it counts its own
            self._requests -= 1
        if self._bell.at_end and not self._requests:
            self._bell.ring()

    def opened(self) -> None:
        """A websocket was opened."""
        self.websockets += 1
        self.total += 1
        self.touch()

    def closed(self) -> None:
        """It was closed, by whomever: that is no activity of its user."""
        if self.websockets:
            self.websockets -= 1
        if self._bell.at_begin:
            self._bell.ring()

    def touch(self) -> None:
        """A user did something else, such as sending a message over a websocket."""
        self.active_at = monotonic()
        if self._bell.at_begin:
            self._bell.ring()


class SharedActivity(Activity):
    """Counts for several threads."""

    __slots__ = ("_lock",)

    def reset(self) -> None:
        # A new one after a fork, since nobody would ever release the old one. A response that is forgotten may be
        # collected, and end its request, in the midst of another call in the same thread: hence one to be reentered.
        self._lock = threading.RLock()
        super().reset()

    def begin(self) -> None:
        with self._lock:
            super().begin()

    def end(self) -> None:
        with self._lock:
            super().end()

    def opened(self) -> None:
        with self._lock:
            super().opened()

    def closed(self) -> None:
        with self._lock:
            super().closed()

    def touch(self) -> None:
        with self._lock:
            super().touch()


class Ends(Protocol):
    """What a request is done by, such as a task of asyncio's."""

    def done(self) -> bool: ...


class TaskActivity(Activity):
    """Counts for one event loop whose requests are done by a task each, until it is done and gone.

    To hear of its end by its being gone costs a third of what a callback does, which takes a turn of the event
    loop. A task that somebody keeps although it is done is found whenever the counts are read.
    """

    __slots__ = ("_on_end", "_tasks")

    def __init__(self, bell: Bell) -> None:
        super().__init__(bell)
        self._on_end = self._ended  # made once, not for each request

    def reset(self) -> None:
        self._tasks: set[ref[Ends]] = set()
        super().reset()

    @property
    def requests(self) -> int:
        return len(self._tasks)

    def counts(self) -> Counts:
        for known in self._tasks.copy():  # the garbage collector may change the set itself at any moment
            task = known()
            if task is not None and task.done():
                self._ended(known)
        return super().counts()

    def begin_by(self, task: Ends) -> None:
        """A request has begun, which ends with this task."""
        self._tasks.add(ref(task, self._on_end))
        self.total += 1
        if self._bell.at_begin:
            self._bell.ring()

    def _ended(self, gone: "ref[Ends]") -> None:
        # By whichever thread drops the task: all of this may be done by two at a time, or twice.
        self._tasks.discard(gone)
        self.active_at = monotonic()
        if self._bell.at_end and not self._tasks:
            self._bell.ring()
