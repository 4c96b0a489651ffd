"""What a configuration that is read again changes: what holds at once, and what a restart is needed for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from buttermilkd.config.lines import KeyPath
from buttermilkd.config.settings import FlowSettings, PubsubSettings, Settings

AT_START: tuple[KeyPath, ...] = (
    ("queue",),
    ("daemon", "host"),
    ("daemon", "state_dir"),
    ("daemon", "runtime_dir"),
    ("daemon", "journal_output"),
    ("activity", "socket_mode"),
    ("control", "socket_mode"),
)
"""What the daemon is built on when it starts; everything else holds from a reload on."""
_DURATIONS = ("_for", "_after", "_min", "_max", "_timeout", "_every", "lease")
"""How the names of durations end."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key that has another value."""

    key: str
    """As it is written: ``daemon.concurrency``."""
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class FlowChange:
    """A flow that was there before and is there still."""

    name: str
    keys: tuple[str, ...]
    """What of it is another than before. Values are not told: they may be long, or private."""

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.keys)})"


@dataclass(frozen=True, slots=True)
class Changes:
    """The outcome of reading a configuration again."""

    in_force: Settings
    """The new settings, but for what needs a restart, which is as before."""
    applied: tuple[Change, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[FlowChange, ...] = ()
    removed: tuple[str, ...] = ()
    needs_restart: tuple[Change, ...] = ()

    @property
    def lines(self) -> list[str]:
        """A line for people for each thing that holds from now on."""
        return [
            *(str(change) for change in self.applied),
            *(f"flow {name} added" for name in self.added),
            *(f"flow {change} changed" for change in self.changed),
            *(f"flow {name} removed" for name in self.removed),
        ]


def compare(before: Settings, after: Settings) -> Changes:
    """What becomes of a daemon that works with ``before`` when it is told to work with ``after``."""
    differing = [path for path in fixed(before.queue) if _value(before, path) != _value(after, path)]
    in_force = after
    for path in differing:
        in_force = _with(in_force, path, _value(before, path))
    old, new = before.flows, after.flows
    return Changes(
        in_force=in_force,
        applied=tuple(_differences(before, in_force)),
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(
            FlowChange(name, keys)
            for name in sorted(new.keys() & old.keys())
            if (keys := _differing(old[name], new[name]))
        ),
        removed=tuple(sorted(old.keys() - new.keys())),
        needs_restart=tuple(_change(before, after, path) for path in differing),
    )


def fixed(queue: str) -> Iterator[KeyPath]:
    """The keys that cannot change in a daemon whose jobs wait in this queue.

    Those of Pub/Sub are used by a daemon that works with it, and by no other.
    """
    yield from AT_START
    if queue == "pubsub":
        # Each flow's own number of retries has come from there already, and is the flow's.
        yield from (("pubsub", key) for key in PubsubSettings.model_fields if key != "max_retries")


def _value(settings: Settings, path: KeyPath) -> Any:
    found: Any = settings
    for key in path:
        found = getattr(found, key)
    return found


def _with(settings: Settings, path: KeyPath, value: Any) -> Settings:
    """The settings with another value at this path."""
    if len(path) == 1:
        return settings.model_copy(update={path[0]: value})
    table = getattr(settings, path[0]).model_copy(update={path[1]: value})
    return settings.model_copy(update={path[0]: table})


def _differences(before: Settings, after: Settings) -> Iterator[Change]:
    """What differs beside flows, and beside what only a daemon that works with Pub/Sub uses: that is fixed."""
    for path in _paths(after, ()):
        if path[0] != "pubsub" and _value(before, path) != _value(after, path):
            yield _change(before, after, path)


def _paths(table: BaseModel, above: KeyPath) -> Iterator[KeyPath]:
    for key in type(table).model_fields:
        value = getattr(table, key)
        if isinstance(value, BaseModel):
            yield from _paths(value, (*above, key))
        elif (*above, key) != ("flows",):
            yield (*above, key)


def _differing(before: FlowSettings, after: FlowSettings) -> tuple[str, ...]:
    return tuple(key for key in FlowSettings.model_fields if getattr(before, key) != getattr(after, key))


def _change(before: Settings, after: Settings, path: KeyPath) -> Change:
    old, new = (_written(path, _value(settings, path)) for settings in (before, after))
    return Change(".".join(path), old, new)


def _written(path: KeyPath, value: Any) -> str:
    """A value for people, much as it stands in a file."""
    if value is None:
        return "not set"
    if path[-1] == "socket_mode":
        return f"{value:04o}"
    if path[-1].endswith(_DURATIONS):
        return f"{value:g}s"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
