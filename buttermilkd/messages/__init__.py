"""Everything that crosses the control socket or a topic, defined once for both ends. Standard library only.

What crosses topics is in ``requests`` (jobs), ``updates`` and ``events`` (what became of them). The views are what the API answers and what ``buttermilkctl --json`` prints; times are ISO 8601 in UTC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from buttermilkd.messages.batches import (
    BatchesView,
    BatchView,
    CauseView,
    ReceiptView,
    ResultView,
    RetriedView,
)
from buttermilkd.messages.creation import ERROR_POLICIES, CreateBatch, CreatedView
from buttermilkd.messages.daemon import (
    API,
    ChangeView,
    EventView,
    FlowChangeView,
    FlowsView,
    FlowView,
    InfoView,
    JournalView,
    QueueView,
    ReloadedView,
    RunningView,
    StatusView,
)
from buttermilkd.messages.dead import (
    DeadLettersView,
    DeadLetterView,
    DeadMessage,
    DeadOutcomesView,
    DeadOutcomeView,
)
from buttermilkd.messages.idle import (
    HistoryShareView,
    HistorySliceView,
    HistoryView,
    IdleView,
    ProtectionView,
    ReplayView,
    ReporterView,
    RunningJobsView,
    SignalView,
    SuspendingView,
)
from buttermilkd.messages.jobs import JobsView, JobView

if TYPE_CHECKING:
    from buttermilkd.messages.events import BatchCreated, BatchEnded, BatchEvent, BatchRecords, HostAsks
    from buttermilkd.messages.requests import JobRequest
    from buttermilkd.messages.updates import JobUpdate, parse_update

NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
LEDGER = "application/vnd.sqlite3"
"""A copy of the ledger."""

__all__ = [
    "API",
    "ERROR_POLICIES",
    "LEDGER",
    "NDJSON",
    "PROBLEM",
    "BatchCreated",
    "BatchEnded",
    "BatchEvent",
    "BatchRecords",
    "BatchView",
    "BatchesView",
    "CauseView",
    "ChangeView",
    "CreateBatch",
    "CreatedView",
    "DeadLetterView",
    "DeadLettersView",
    "DeadMessage",
    "DeadOutcomeView",
    "DeadOutcomesView",
    "EventView",
    "FlowChangeView",
    "FlowView",
    "FlowsView",
    "HistoryShareView",
    "HistorySliceView",
    "HistoryView",
    "HostAsks",
    "IdleView",
    "InfoView",
    "JobRequest",
    "JobUpdate",
    "JobView",
    "JobsView",
    "JournalView",
    "ProtectionView",
    "QueueView",
    "ReceiptView",
    "ReloadedView",
    "ReplayView",
    "ReporterView",
    "ResultView",
    "RetriedView",
    "RunningJobsView",
    "RunningView",
    "SignalView",
    "StatusView",
    "SuspendingView",
    "parse_update",
]

_ON_TOPICS = {
    "BatchCreated": "events",
    "BatchEnded": "events",
    "BatchEvent": "events",
    "BatchRecords": "events",
    "HostAsks": "events",
    "JobRequest": "requests",
    "JobUpdate": "updates",
    "parse_update": "updates",
}


def __getattr__(name: str) -> Any:
    """Import what crosses topics when it is asked for: the command line never does, and has to start fast."""
    if name not in _ON_TOPICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ON_TOPICS[name]}"), name)
