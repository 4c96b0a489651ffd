"""The daemon's own durable record of batches, jobs, attempts and events, in SQLite."""

from buttermilkd.ledger.ledger import Ledger

__all__ = ["Ledger"]
