"""The reporters of this process: one for each application, however many middlewares it was given.

Nothing is connected before somebody uses the process, or before it says that it starts to serve: what only loads an
application, such as a master of workers that loads it beforehand, reports nothing.
"""

import atexit
import os
import sys
from pathlib import Path
from threading import RLock, Thread

from buttermilkd.places import activity_socket
from buttermilkd.reports import MAX_NAME, Hello
from buttermilkd.web.activity import Activity, Bell, SharedActivity, TaskActivity
from buttermilkd.web.speaker import Speaker

_ACTIVITIES: dict[str, type[Activity]] = {"wsgi": SharedActivity, "aiohttp": TaskActivity}

Socket = str | os.PathLike[str] | None
"""The path of an activity socket; None: wherever the daemon of this machine has it."""


class Reporter:
    """Tells of one application."""

    def __init__(self, surroundings: "Reporters", app: str, kind: str, socket: Socket) -> None:
        self._surroundings = surroundings
        self._app = app
        self._kind = kind
        self._socket = socket
        self._bell = Bell(self.start)
        self._speaker: Speaker | None = None
        self._thread: Thread | None = None
        self.activity = _ACTIVITIES.get(kind, Activity)(self._bell)
        """What to count on."""

    def start(self) -> None:
        """Report from now on, where that has not begun in this process. Never raises."""
        if self._speaker is not None:
            return
        self._bell.mute()
        if sys.platform != "linux":
            return
        with self._surroundings.lock:
            if self._speaker is None:
                try:
                    self._begin()
                except (OSError, RuntimeError):
                    """No descriptor or no thread is left, or the interpreter ends: this time it is not reported."""
                    self._give_up()

    def settle(self) -> None:
        """Have the daemon know how things are at this moment, since the process may end in the next one."""
        if self._speaker is not None:
            self._speaker.hurry()

    def move(self) -> None:
        """The default socket is another one now."""
        if self._speaker is not None and self._socket is None:
            self._speaker.move()

    def close(self) -> None:
        """Report nothing more, ever."""
        self._bell.ring = self._bell.mute
        self._bell.mute()
        if self._speaker is not None and self._thread is not None:
            self._speaker.close()
            self._thread.join()

    def forked(self) -> None:
        """This process is a child of the one that reports: nothing has happened in it, and it has told nobody."""
        if self._speaker is not None:
            self._speaker.abandon()
        self._speaker = self._thread = None
        self.activity.reset()
        self._bell.ring = self.start
        self._bell.at_begin, self._bell.at_end = True, False

    def _begin(self) -> None:
        """Raises OSError, RuntimeError: the system does not allow it."""
        hello = Hello(self._app, os.getpid(), _worker(), self._kind)
        self._speaker = Speaker(self._bell, self.activity, hello, self._find_socket, self._surroundings.lock)
        self._bell.ring = self._speaker.ring
        self._thread = Thread(target=self._speaker.run, name="buttermilkd-reporter", daemon=True)
        self._thread.start()

    def _give_up(self) -> None:
        if self._speaker is not None:
            self._speaker.abandon()
        self._speaker = self._thread = None
        self._bell.ring = self.start
        self._bell.at_begin = True

    def _find_socket(self) -> Path:
        return activity_socket(self._socket or self._surroundings.default_socket, os.environ)


class Reporters:
    """All of one process."""

    def __init__(self) -> None:
        self.lock = RLock()
        """Held while a descriptor is made that no child may inherit unseen, and while the process forks."""
        self.default_socket: Socket = None
        self._reporters: dict[tuple[str | None, str, str], Reporter] = {}
        if sys.platform == "linux":
            os.register_at_fork(
                before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._forked
            )
            atexit.register(self._settle)

    def reporter(self, app: str | None, kind: str, socket: Socket = None) -> Reporter:
        """The one for this application, which has one ``kind`` of middleware: ``asgi``, ``wsgi`` or ``aiohttp``.

        ``app`` is a name for people, by default that of the program.

        Raises:
            ValueError: it is empty, not printable or over 100 characters long.
        """
        name = _program() if app is None else app
        if not (0 < len(name) <= MAX_NAME and name.isprintable()):
            raise ValueError(f"app must be 1 to {MAX_NAME} printable characters, not {name!r}")
        key = (None if socket is None else os.fspath(socket)), name, kind
        with self.lock:
            if key not in self._reporters:
                self._reporters[key] = Reporter(self, name, kind, socket)
            return self._reporters[key]

    def use_socket(self, socket: Socket) -> None:
        """Where those report that have been given no socket of their own, from now on."""
        self.default_socket = socket
        for reporter in self._known():
            reporter.move()

    def close(self) -> None:
        """End all of them; those that are asked for later are new ones."""
        known = self._known()
        self._reporters.clear()
        for reporter in known:
            reporter.close()

    def _known(self) -> list[Reporter]:
        with self.lock:
            return list(self._reporters.values())

    def _settle(self) -> None:
        for reporter in self._known():
            reporter.settle()

    def _before_fork(self) -> None:
        self.lock.acquire()

    def _after_fork(self) -> None:
        self.lock.release()

    def _forked(self) -> None:
        self.lock = RLock()
        for reporter in self._reporters.values():
            reporter.forked()


REPORTERS = Reporters()
"""Of this process: one for all its applications, since it has one end, one set of descriptors and one way to fork."""


def _program() -> str:
    """The program's name, as people know it."""
    path = Path(sys.argv[0] if getattr(sys, "argv", None) else "")
    name = path.parent.name if path.name == "__main__.py" else path.name
    return _printable(name) or "python"


def _worker() -> str:
    """The name that this process has among its siblings, where it was started as one of several."""
    processes = sys.modules.get("multiprocessing.process")
    name = "" if processes is None else processes.current_process().name
    return "" if name == "MainProcess" else _printable(name)


def _printable(name: str) -> str:
    return "".join(character for character in name if character.isprintable())[:MAX_NAME]
