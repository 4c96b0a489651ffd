"""Why a batch waits: the one sentence that the API, the CLI and the journal print. A pure function."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from buttermilkd.messages import BatchView
from buttermilkd.plurals import count

EVERYTHING = "*"
"""The name under which all flows are paused at once."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides on whether jobs start."""

    idle: bool
    why: str
    """The idleness decision's sentence, without its state: every reason, worst first, and when it will be over."""
    holds: Collection[str]
    """Names of paused flows; ``*`` stands for all."""
    flows: Collection[str]
    """Names of the configured ones."""
    running: int
    suspended: Mapping[str, int]
    """How many jobs of which batch are suspended."""
    concurrency: int
    queue: str
    """Where the daemon's jobs wait: ``local`` or ``pubsub``."""
    draining: bool
    trouble: str | None


def waiting_for(batch: BatchView, now: Situation) -> str | None:
    """What this batch waits for; None where it does not wait."""
    suspended = now.suspended.get(batch["batch_id"], 0)
    if suspended and suspended >= batch["running"]:
        return f"{count(suspended, 'job is', 'jobs are')} suspended: {now.why}"
    if not batch["pending"]:
        return None
    if batch["running"]:
        # Something of it goes on: what keeps the rest of it waiting is told only where that is a fault.
        return now.trouble if batch["queue"] == now.queue else None
    if now.draining:
        return "the daemon is stopping"
    if (obstacle := _obstacle(batch, now)) is not None:
        return obstacle
    if not now.idle:
        return now.why
    if now.running >= now.concurrency:
        return f"{count(now.running, 'other job is', 'other jobs are')} running (daemon.concurrency = {now.concurrency})"
    return None


def _obstacle(batch: BatchView, now: Situation) -> str | None:
    """What keeps this batch waiting however idle the machine is."""
    flow = batch["flow"]
    if batch["queue"] != now.queue:
        return f'its jobs wait in the other queue: this daemon works with queue = "{now.queue}" now'
    if (rival := batch.get("rival")) is not None:
        return f"its id is also that of another batch, created on {rival}: cancel it, and create both again under other ids"
    if now.trouble is not None:
        return now.trouble
    if EVERYTHING in now.holds:
        return "all flows are paused"
    if flow in now.holds:
        return f"flow {flow} is paused"
    if flow not in now.flows:
        return f"flow {flow} is not configured on this host"
    return None
