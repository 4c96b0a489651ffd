"""Everything that crosses the control socket, defined once for both ends. Standard library only.

The views are what the API answers and what ``buttermilkctl --json`` prints; times are ISO 8601 in UTC.
"""

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
    EventView,
    FlowsView,
    FlowView,
    InfoView,
    QueueView,
    RunningView,
    StatusView,
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

NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"

__all__ = [
    "API",
    "ERROR_POLICIES",
    "NDJSON",
    "PROBLEM",
    "BatchView",
    "BatchesView",
    "CauseView",
    "CreateBatch",
    "CreatedView",
    "EventView",
    "FlowView",
    "FlowsView",
    "HistoryShareView",
    "HistorySliceView",
    "HistoryView",
    "IdleView",
    "InfoView",
    "JobView",
    "JobsView",
    "ProtectionView",
    "QueueView",
    "ReceiptView",
    "ReplayView",
    "ReporterView",
    "ResultView",
    "RetriedView",
    "RunningJobsView",
    "RunningView",
    "SignalView",
    "StatusView",
    "SuspendingView",
]
