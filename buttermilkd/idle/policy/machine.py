"""The signals that do not come from web servers: CPU, clock, schedule, operators. Pure functions."""

from collections.abc import Sequence
from datetime import datetime

from buttermilkd.idle.policy.latch import Latch, Thresholds
from buttermilkd.idle.policy.observations import CpuSample, Sample, Settings, Window
from buttermilkd.idle.policy.readings import Level, Reading, Signal, Wait
from buttermilkd.idle.policy.wording import countdown, duration, percent


def cpu_thresholds(settings: Settings) -> Thresholds:
    return Thresholds(
        busy=settings.foreign_cpu_busy,
        busy_for=settings.foreign_cpu_busy_for,
        clear=settings.foreign_cpu_clear,
        clear_for=settings.foreign_cpu_clear_for,
    )


def foreign_cpu(cpu: CpuSample, latch: Latch, limits: Thresholds) -> Reading:
    """What all processes but our jobs use of the CPUs. ``latch`` has seen this sample already."""
    signal = Signal(
        "cpu",
        f"over {percent(limits.busy)} for {countdown(limits.busy_for)}",
        f"under {percent(limits.clear)} for {countdown(limits.clear_for)}",
    )
    if cpu.foreign is None:
        reason = f"use of the CPU is not known: {cpu.problem}"
        return signal.blocking(Level.UNKNOWN, "not known", reason)
    value = f"others {percent(cpu.foreign)}, own jobs {percent(cpu.own)}"
    used = f"other processes use {percent(cpu.foreign)} of CPU"
    if not latch.is_busy:
        return signal.clear(value, f"other CPU {percent(cpu.foreign)}")
    if latch.crossed_at is not None:
        clears_at = latch.crossed_at + limits.clear_for
        lasting = duration(cpu.at - latch.crossed_at)
        reason = f"{used} (under {percent(limits.clear)} for {lasting})"
        return signal.blocking(Level.COOLING, value, reason, Wait(clears_at, clears_at))
    if cpu.foreign > limits.busy and latch.busy_since is not None:
        limit = f"limit {percent(limits.busy)}, for {duration(cpu.at - latch.busy_since)}"
    else:
        limit = f"busy until under {percent(limits.clear)}"
    return signal.blocking(Level.BUSY, value, f"{used} ({limit}); own jobs {percent(cpu.own)} not counted")


def operators(holds: Sequence[str]) -> Reading:
    """Whether an operator wants nothing to start."""
    signal = Signal("operator", "paused", "resumed")
    return signal.blocking(Level.HELD, "paused", ", ".join(holds)) if holds else signal.clear("no pause")


def schedule(allow: Sequence[Window], local: datetime) -> Reading:
    """Whether it is a time at which jobs may run. No window at all means always."""
    windows = ", ".join(map(str, allow))
    signal = Signal(
        "schedule", f"outside {windows}" if allow else "never", f"in {windows}" if allow else "always"
    )
    value = f"{local:%a %H:%M}"
    if not allow or any(window.contains(local) for window in allow):
        return signal.clear(value)
    return signal.blocking(Level.HELD, value, f"{value} is outside the schedule ({windows})")


def settling(started: float, settings: Settings, now: float) -> Reading:
    """After a start, web servers get a moment to connect and say what their users do."""
    signal = Signal("start", "just started", f"{countdown(settings.settle_for)} after the start")
    value = f"started {duration(now - started)} ago"
    if now - started >= settings.settle_for:
        return signal.clear(value)
    ready_at = started + settings.settle_for
    reason = f"{value}; waiting for web servers to report"
    return signal.blocking(Level.UNKNOWN, value, reason, Wait(ready_at, ready_at))


def clock(sample: Sample) -> Reading:
    """Whether this look followed the one before as it should: what happened in between is not known."""
    signal = Signal("clock", "three ticks late, or set", "the next tick")
    if sample.gap is not None:
        reason = f"nothing was observed for {duration(sample.gap)} (overload, or a sleep)"
    elif sample.jump is not None:
        way = "forward" if sample.jump > 0 else "back"
        reason = f"the clock went {way} by {duration(abs(sample.jump))} (set by hand, or a sleep)"
    else:
        return signal.clear("steady")
    return signal.blocking(Level.UNKNOWN, "disturbed", reason)
