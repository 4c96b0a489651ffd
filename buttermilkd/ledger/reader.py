"""Reading beside the writer: connections of their own that can neither write nor checkpoint."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from buttermilkd.ledger.integrity import is_doubtful
from buttermilkd.ledger.writer import storage_error

T = TypeVar("T")

THREADS = 2


class Reader:
    """Runs queries in a few threads; each sees all that was committed before it began."""

    def __init__(self, path: Path) -> None:
        self._address = f"file:{quote(str(path))}?mode=ro"
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger-reader")
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self.is_doubtful = False
        """An error was met after which nobody knows whether the file is whole."""

    async def query(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``operation`` on a read-only connection.

        Raises:
            StorageError: SQLite could not read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._query, operation)

    def _query(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return operation(self._connection())
        except sqlite3.Error as error:
            self.is_doubtful = self.is_doubtful or is_doubtful(error)
            raise storage_error(error) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._address, uri=True, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA busy_timeout = 10000")
            self._own.connection = connection
            self._connections.append(connection)
        return connection

    async def close(self) -> None:
        """Wait for what runs, then close. Harmless when repeated."""
        await asyncio.to_thread(self._threads.shutdown)
        while self._connections:
            self._connections.pop().close()
