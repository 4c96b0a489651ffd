"""The one thread that commits. Calls queue to it, and those that come while it works are committed together."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from buttermilkd.errors import ButtermilkError, StorageError, UnavailableError
from buttermilkd.ledger.integrity import MEND, is_doubtful

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

GROUP = 256
"""Most calls in one commit, so that one caller's answer does not wait for a long queue of others."""


class _Call:
    """One queued operation and the future of who waits for it."""

    __slots__ = ("answer", "error", "future", "loop", "operation")

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.answer: Any = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        if self.future.done():  # its caller was cancelled while it waited
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)


class Writer:
    """Runs operations on the ledger's only writing connection, in the order in which they were called.

    An operation is answered after the commit that holds it. One that raises is rolled back alone; the others
    of its group are not touched. The queue is bounded by its callers: each waits for its answer.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ledger-writer")
        self._closed = False
        self.is_doubtful = False
        """An error was met after which nobody knows whether the file is whole."""

    def start(self) -> None:
        self._thread.start()

    def call(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """Queue ``operation``. Its future is answered after the commit, and fails with what it raised.

        The operation runs even if its caller is cancelled meanwhile. Raises (through the future):
        StorageError where SQLite could not read or write; nothing of the operation is kept then.
        """
        call = _Call(operation)
        if self._closed:
            call.future.set_exception(UnavailableError("cannot write to the ledger: it is closed"))
        else:
            self._calls.put(call)
        return call.future

    async def close(self) -> None:
        """Finish what is queued, then end the thread and close the connection. Harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _answer(self._commit(call))
        self._connection.close()

    def _commit(self, first: _Call) -> list[_Call]:
        """Run it, and what is called meanwhile, in one transaction; where that cannot be committed, all of it fails."""
        group = [first]
        try:
            self._run_first(first)
            while len(group) < GROUP and (call := self._next()) is not None:
                group.append(call)
                self._run(call)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = self._failure(error)
            for call in group:
                call.error = call.error or failure
            self._roll_back()
        return group

    def _next(self) -> _Call | None:
        """The next call, where one waits."""
        try:
            call = self._calls.get_nowait()
        except Empty:
            return None
        if call is None:
            self._calls.put(None)  # the end, for who works through the queue
        return call

    def _run_first(self, call: _Call) -> None:
        """Begin a transaction with this operation; where that fails, begin another without it."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            call.answer = call.operation(connection)
        except Exception as error:  # noqa: BLE001 - it is raised where its answer is waited for
            call.error = self._failure(error) if isinstance(error, sqlite3.Error) else error
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")

    def _run(self, call: _Call) -> None:
        """Run another operation of a group within a savepoint, so that its failure is its own."""
        connection = self._connection
        connection.execute("SAVEPOINT one")
        try:
            call.answer = call.operation(connection)
        except Exception as error:
            call.error = self._failure(error) if isinstance(error, sqlite3.Error) else error
            if not connection.in_transaction:  # SQLite rolled back all of it: a full disk, for example
                raise sqlite3.OperationalError(str(error)) from error
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")

    def _failure(self, error: sqlite3.Error) -> ButtermilkError:
        self.is_doubtful = self.is_doubtful or is_doubtful(error)
        return storage_error(error)

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _answer(group: list[_Call]) -> None:
    """Wake each loop once for all of its calls."""
    loops: dict[asyncio.AbstractEventLoop, list[_Call]] = {}
    for call in group:
        loops.setdefault(call.loop, []).append(call)
    for loop, calls in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, calls)


def _deliver(calls: list[_Call]) -> None:
    for call in calls:
        call.deliver()


_ROOM = "free some space on the file system that holds the state directory"
_WRITABLE = "make the state directory writable for the daemon's user"


def storage_error(error: Exception) -> ButtermilkError:
    """The ledger's own error for one of SQLite's or of the system's, with what mends it."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    hint = {
        "disk is full": _ROOM,
        "No space left": _ROOM,
        "readonly": _WRITABLE,
        "Read-only": _WRITABLE,
        "Permission denied": _WRITABLE,
        "malformed": f"stop the daemon; then {MEND}",
        "not a database": f"stop the daemon; then {MEND}",
        "locked": "another program writes to the ledger; only the daemon may",
    }
    matching = next((mend for words, mend in hint.items() if words in text), None)
    return StorageError(f"cannot use the ledger: {text}", hint=matching)
