"""One batch of which messages tell, and how its counters change in one operation."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buttermilkd.jobs import Status


@dataclass(slots=True)
class Book:
    """One batch, and how its counters change in this operation."""

    row: sqlite3.Row
    variants: list[Mapping[str, Any]]
    moves: Counter[Status] = field(default_factory=Counter)
    found: int = 0
    """Jobs that were first heard of, in a batch of which nobody has told how many it has."""
    created_at: float | None = None
    """Where somebody knows of an earlier moment than the row."""
    began_at: float | None = None
    """Of the first of its jobs that began, as far as this operation tells …"""
    ended_at: float = 0.0
    """… and of the last one that ended."""
    touched: bool = False
    variants_grew: bool = False

    @property
    def key(self) -> int:
        return int(self.row["key"])

    @property
    def is_open_ended(self) -> bool:
        """Nobody has told as yet how many jobs it has, or what they are."""
        return bool(self.row["origin"] == "")

    def is_cancelled(self, batch_sequence: int) -> bool:
        """Whether the batch was cancelled, or stopped, after ``batch_sequence``: what somebody knew who wrote of a job."""
        by_a_failure = self.row["error_policy"] == "stop" and self.row["phase"] in ("stopping", "ended")
        is_over = self.row["cancelled_at"] is not None or by_a_failure
        return is_over and bool(batch_sequence < self.row["sequence"])

    def running(self) -> int:
        return int(self.row["running"]) + self.moves[Status.RUNNING]

    def job_row(self, number: int) -> int:
        return int(self.row["first_job"]) + number - 1

    def variant(self, number: int, parameters: Mapping[str, Any] | None) -> int:
        """Index of the job's variant; one that is new is added where the batch has no list of them yet."""
        if not self.is_open_ended or parameters is None:
            return (number - 1) % max(1, len(self.variants))
        if parameters not in self.variants:
            self.variants.append(dict(parameters))
            self.variants_grew = True
        return self.variants.index(parameters)


def is_other_work(
    book: Book, row: sqlite3.Row | None, number: int, parameters: Mapping[str, Any] | None, flow: str | None
) -> bool:
    """Whether this flow and these parameters are not those of the job that is known under the number."""
    known = (row is not None and row["own_flow"]) or book.row["flow"]
    if book.is_open_ended:
        # Its jobs may be of several flows, and which parameters belong to which number is not told yet.
        return row is not None and bool(flow and known) and flow != known
    if flow is not None and flow != known:
        return True
    variants = book.variants
    return parameters is not None and bool(variants) and parameters != variants[(number - 1) % len(variants)]
