"""Every setting, its kind and its default.

Defaults are here, in ``flow.py`` for a flow's, in ``idle.py`` for the idleness decision's, and nowhere else.
Durations are seconds, sizes bytes, fractions shares of all CPUs; how each is written is in ``values.py``.
"""

import socket
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from buttermilkd.config.activity import ActivitySettings
from buttermilkd.config.flow import FlowSettings
from buttermilkd.config.idle import IdleSettings
from buttermilkd.config.values import (
    Duration,
    FileMode,
    FilePath,
    Flag,
    PositiveDuration,
    Text,
    Texts,
    choice,
    duration,
    duration_in,
    file_mode,
    whole,
)
from buttermilkd.jobs import FLOW_NAME
from buttermilkd.places import ADMIN_GROUPS

__all__ = [
    "ActivitySettings",
    "ControlSettings",
    "DaemonSettings",
    "FlowSettings",
    "IdleSettings",
    "PubsubSettings",
    "RetentionSettings",
    "Settings",
]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PubsubSettings(_Table):
    """Google Cloud Pub/Sub, by the names of Buttermilk's ``pubsub.yaml``."""

    project: Text | None = None
    """The Google Cloud project. ``load`` falls back to ``$GOOGLE_CLOUD_PROJECT``."""
    jobs_topic: Text = "jobs"
    status_topic: Text = "flow"
    subscription: Text = "jobs-sub"
    """Where job requests are pulled from; shared by all hosts."""
    status_subscription: Text = "flow-sub-{host}"
    """Where status updates are pulled from; one for each host, whose name replaces ``{host}``."""
    max_retries: Annotated[int, whole(0, 1000, 3)] = 3
    """Of a flow that sets none, when jobs come from Pub/Sub."""
    create: Flag = False
    """Make missing topics and subscriptions at start."""
    credentials: FilePath | None = None
    """A service account's key. Without one, Application Default Credentials are looked for."""
    lease: Annotated[float, duration_in("20s", "600s")] = duration("300s")
    """Seconds for which a job is kept from other hosts, again and again while it waits or runs here."""
    unknown_flow_after: Duration = duration("10m")
    """Seconds for which a job of a flow that this host does not know is left to others before it is a dead letter."""


class DaemonSettings(_Table):
    """The daemon itself."""

    host: Text = Field(default_factory=socket.gethostname)
    """What this host is called where several share a queue; no two of them may be called the same."""
    concurrency: Annotated[int, whole(1, 1024, 2)] = 2
    """Jobs at once on this host."""
    state_dir: FilePath
    """Holds the ledger. ``load`` takes it from ``places.state_dir`` where it is not set."""
    runtime_dir: FilePath
    """Holds the sockets. ``load`` takes it from ``places.runtime_dir`` where it is not set."""
    drain_timeout: Duration = duration("60s")
    """Seconds that running jobs get to end when the daemon stops."""
    max_interruptions: Annotated[int, whole(1, 1000, 10)] = 10
    """Deaths of the daemon that a job may live through before it counts as failed."""
    journal_output: Flag = True
    """What jobs print goes to systemd's journal as well, where the daemon's own log goes there."""


class ControlSettings(_Table):
    """The socket of the control API."""

    admin_groups: Texts = [*ADMIN_GROUPS]
    """Groups whose members may change things, beside root and the daemon's own user."""
    socket_mode: FileMode = file_mode("0660")


class RetentionSettings(_Table):
    """How long batches that have ended are kept, with their jobs, results and logs. Without bounds: for ever."""

    remove_after: PositiveDuration | None = None
    """Seconds after a batch's end until it is removed."""
    keep_batches: Annotated[int, whole(1, 10_000_000, 1000)] | None = None
    """Most ended batches that are kept: those that ended last."""


def _flow_name(value: object) -> str:
    if not isinstance(value, str) or not FLOW_NAME.fullmatch(value):
        raise ValueError(
            "cannot be the name of a flow: up to 64 letters, digits, '.', '-' and '_' are, "
            "beginning with a letter or digit"
        )
    return value


class Settings(_Table):
    """The whole configuration."""

    pubsub: PubsubSettings = PubsubSettings()
    queue: Annotated[Literal["local", "pubsub"], choice("local", "pubsub")] = "local"
    """Where jobs wait: in the daemon's own ledger, or at Google Cloud Pub/Sub."""
    daemon: DaemonSettings
    idle: IdleSettings = IdleSettings()
    activity: ActivitySettings = ActivitySettings()
    control: ControlSettings = ControlSettings()
    retention: RetentionSettings = RetentionSettings()
    flows: dict[Annotated[str, PlainValidator(_flow_name)], FlowSettings] = {}

    @field_validator("queue")
    @classmethod
    def _pubsub_needs_a_project(cls, queue: str, info: ValidationInfo) -> str:
        pubsub = info.data.get("pubsub")
        if queue == "pubsub" and pubsub is not None and pubsub.project is None:
            raise ValueError(
                '"pubsub" needs the Google Cloud project: set pubsub.project or $GOOGLE_CLOUD_PROJECT'
            )
        return queue
