"""Log records into the journal."""

import logging

from buttermilkd.host.journal.entries import entry_of
from buttermilkd.host.journal.sender import Sender


class JournalHandler(logging.Handler):
    """Makes an entry of each record and hands it to the sender; never waits."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._sender.offer(entry_of(record, self._sender.host)):
                self._sender.lose()
        except Exception:  # noqa: BLE001 - as the standard library's handlers do: a record must not end its caller
            self.handleError(record)
