"""Every setting, its kind and its default. Defaults are here, in ``flow.py`` for a flow's, and nowhere else.

Durations are seconds, sizes bytes, fractions shares of all CPUs; how each is written is in ``values.py``.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from buttermilkd.config.flow import FlowSettings
from buttermilkd.config.values import (
    Duration,
    FileMode,
    FilePath,
    Flag,
    Fraction,
    Text,
    Texts,
    choice,
    duration,
    file_mode,
    whole,
)
from buttermilkd.config.windows import Window, parse_windows
from buttermilkd.jobs import FLOW_NAME

__all__ = [
    "ActivitySettings",
    "ControlSettings",
    "DaemonSettings",
    "FlowSettings",
    "IdleSettings",
    "PubsubSettings",
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


class DaemonSettings(_Table):
    """The daemon itself."""

    concurrency: Annotated[int, whole(1, 1024, 2)] = 2
    """Jobs at once on this host."""
    state_dir: FilePath
    """Holds the ledger. ``load`` takes it from ``locate.state_dir`` where it is not set."""
    runtime_dir: FilePath
    """Holds the sockets. ``load`` takes it from ``locate.runtime_dir`` where it is not set."""
    drain_timeout: Duration = duration("60s")
    """Seconds that running jobs get to end when the daemon stops."""
    max_interruptions: Annotated[int, whole(1, 1000, 10)] = 10
    """Deaths of the daemon that a job may live through before it counts as failed."""


class IdleSettings(_Table):
    """When jobs may run."""

    quiet_for: Duration = duration("60s")
    """Seconds without a request until suspended jobs resume."""
    start_after: Duration = Field(default_factory=lambda data: 2 * data["quiet_for"])
    """Seconds without a request until new jobs start."""
    websocket_start_after: Duration = Field(default_factory=lambda data: 5 * data["quiet_for"])
    """Seconds without a message on an open websocket until new jobs start."""
    websockets: Annotated[Literal["messages", "open"], choice("messages", "open")] = "messages"
    """What of a websocket counts: its messages, or that it is open at all."""
    without_reporters: Annotated[Literal["system", "busy"], choice("system", "busy")] = "system"
    """What decides while no web server reports: the system's signals, or nothing: it is busy then."""
    foreign_cpu_busy: Fraction = 0.50
    """The CPU use of other processes above which it is busy."""
    foreign_cpu_busy_for: Duration = duration("10s")
    foreign_cpu_clear: Fraction = Field(default=0.25, validate_default=True)
    """The CPU use of other processes below which it is no longer busy."""
    foreign_cpu_clear_for: Duration = duration("30s")
    allow: Annotated[tuple[Window, ...], PlainValidator(parse_windows)] = ()
    """Windows of the week in which jobs may run; empty: always."""
    settle_for: Duration = duration("2s")
    """Seconds after the start in which web servers get to report before anything is decided."""

    @field_validator("start_after", "websocket_start_after")
    @classmethod
    def _not_under_quiet_for(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("quiet_for", 0.0):
            raise ValueError(f"must not be shorter than quiet_for ({info.data['quiet_for']:g} s)")
        return value

    @field_validator("foreign_cpu_clear")
    @classmethod
    def _under_busy(cls, value: float, info: ValidationInfo) -> float:
        busy = info.data.get("foreign_cpu_busy")
        if busy is not None and value >= busy:
            raise ValueError(f"must be below foreign_cpu_busy ({busy:g})")
        return value


class ActivitySettings(_Table):
    """The socket on which web servers report what their users do."""

    socket_mode: FileMode = file_mode("0666")


class ControlSettings(_Table):
    """The socket of the control API."""

    admin_groups: Texts = ["buttermilk"]
    """Groups whose members may change things, beside root and the daemon's own user."""
    socket_mode: FileMode = file_mode("0660")


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
