"""The settings of the idleness decision: what counts as busy, what as quiet, and for how long."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from buttermilkd.config.values import ConflictingError, Duration, Fraction, choice, duration, whole
from buttermilkd.config.windows import Window, parse_windows

_CHECKED = Field(validate_default=True)
_DURATIONS = ("_for", "_after", "_min", "_max")
"""How the names of durations end."""


class IdleSettings(BaseModel):
    """When jobs may run.

    A measure is busy once it is over ``…_busy`` for ``…_busy_for``, and clear again once it is under
    ``…_clear`` for ``…_clear_for``. Shares of CPU are of all CPUs. Defaults have their sources in the
    documentation of each signal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    """The CPU use of everything but our own jobs."""
    foreign_cpu_busy_for: Duration = duration("10s")
    foreign_cpu_clear: Annotated[Fraction, _CHECKED] = 0.25
    foreign_cpu_clear_for: Duration = duration("30s")
    other_cpu_busy: Fraction = 0.10
    """The CPU use of everything but our own jobs and the web servers: over it, idle priority does not protect."""
    other_cpu_busy_for: Duration = duration("2s")
    other_cpu_clear: Annotated[Fraction, _CHECKED] = 0.05
    other_cpu_clear_for: Duration = duration("30s")
    steal_busy: Fraction = 0.10
    """The CPU that the host of this virtual machine gives to others."""
    steal_busy_for: Duration = duration("10s")
    steal_clear: Annotated[Fraction, _CHECKED] = 0.05
    steal_clear_for: Duration = duration("60s")
    cpu_pressure_busy: Fraction = 0.10
    """The share of the last ten seconds in which some of the web server waited for a CPU."""
    cpu_pressure_busy_for: Duration = 0.0
    cpu_pressure_clear: Annotated[Fraction, _CHECKED] = 0.02
    cpu_pressure_clear_for: Duration = duration("30s")
    io_pressure_busy: Fraction = 0.10
    """... for disks."""
    io_pressure_busy_for: Duration = 0.0
    io_pressure_clear: Annotated[Fraction, _CHECKED] = 0.02
    io_pressure_clear_for: Duration = duration("30s")
    memory_pressure_busy: Fraction = 0.05
    """The share of the last ten seconds in which everything waited for memory."""
    memory_pressure_busy_for: Duration = 0.0
    memory_pressure_clear: Annotated[Fraction, _CHECKED] = 0.01
    memory_pressure_clear_for: Duration = duration("60s")
    memory_available_busy: Fraction = 0.10
    """The share of the memory that can be had without swapping: busy under it, clear over ``…_clear``."""
    memory_available_busy_for: Duration = 0.0
    memory_available_clear: Annotated[Fraction, _CHECKED] = 0.15
    memory_available_clear_for: Duration = duration("60s")
    allow: Annotated[tuple[Window, ...], PlainValidator(parse_windows)] = ()
    """Windows of the week in which jobs may run; empty: always."""
    settle_for: Duration = duration("2s")
    """Seconds after the start in which web servers get to report before anything is decided."""
    suspend_min: Duration = duration("20s")
    """Seconds that a suspension lasts at least."""
    suspend_max: Duration = Field(default_factory=lambda data: max(duration("10m"), data["suspend_min"]))
    """Seconds after which a suspended job makes room, where its flow is ``restartable`` or memory is short."""
    suspensions_per_hour: Annotated[int, whole(1, 1000, 6)] = 6
    """More than so many double ``quiet_for`` and ``start_after``, up to 15 minutes; an hour without any halves them."""

    @field_validator("start_after", "websocket_start_after")
    @classmethod
    def _not_under_quiet_for(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("quiet_for", 0.0):
            raise ValueError(f"must not be shorter than quiet_for ({info.data['quiet_for']:g} s)")
        return value

    @field_validator("suspend_max")
    @classmethod
    def _not_under_suspend_min(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("suspend_min", 0.0):
            raise ValueError(f"must not be shorter than suspend_min ({info.data['suspend_min']:g} s)")
        return value

    @field_validator(
        "foreign_cpu_clear",
        "other_cpu_clear",
        "steal_clear",
        "cpu_pressure_clear",
        "io_pressure_clear",
        "memory_pressure_clear",
    )
    @classmethod
    def _under_busy(cls, value: float, info: ValidationInfo) -> float:
        key, busy = cls._busy_of(info)
        if busy is not None and value >= busy:
            raise _conflict(info, "below", value, key, busy)
        return value

    @field_validator("memory_available_clear")
    @classmethod
    def _over_busy(cls, value: float, info: ValidationInfo) -> float:
        key, busy = cls._busy_of(info)
        if busy is not None and value <= busy:
            raise _conflict(info, "above", value, key, busy)
        return value

    def written(self) -> dict[str, Any]:
        """The table as it would stand in a file."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: [str(window) for window in value]
            if name == "allow"
            else _written_duration(value)
            if name.endswith(_DURATIONS)
            else value
            for name, value in values.items()
        }

    def given(self) -> tuple[str, ...]:
        """The keys that somebody has set, in their order."""
        return tuple(name for name in type(self).model_fields if name in self.model_fields_set)

    @staticmethod
    def _busy_of(info: ValidationInfo) -> tuple[str, float | None]:
        key = str(info.field_name).removesuffix("_clear") + "_busy"
        return key, info.data.get(key)


def _conflict(info: ValidationInfo, wanted: str, clear: float, busy_key: str, busy: float) -> ValueError:
    turned = {"below": "above", "above": "below"}[wanted]
    return ConflictingError(
        f"must be {wanted} {busy_key} ({busy:g})",
        busy_key,
        f"must be {turned} {info.field_name} ({clear:g} by default)",
    )


def _written_duration(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
