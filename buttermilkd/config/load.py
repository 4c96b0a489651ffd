"""Load the configuration: layers in order, then all of it checked, and every problem reported at once."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from buttermilkd import places
from buttermilkd.config import locate
from buttermilkd.config.layers import Merged, environment_layers, file_layer, flag_layers, misconfigured
from buttermilkd.config.lines import KeyPath
from buttermilkd.config.problems import Problem, problems_of, report
from buttermilkd.config.settings import IdleSettings, Settings
from buttermilkd.config.values import duration
from buttermilkd.errors import MisconfiguredError

_PATHS: tuple[KeyPath, ...] = (
    ("daemon", "state_dir"),
    ("daemon", "runtime_dir"),
    ("pubsub", "credentials"),
    ("flows", "*", "directory"),
    ("flows", "*", "env_files", "*"),
)
"""Settings that are relative to the folder of the file they are written in."""


def load(
    config: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    *,
    flag: str = "--set",
    queue: str | None = None,
    system: places.Places = places.SYSTEM,
) -> Settings:
    """The settings of files, environment and flags; later ones count over earlier ones, tables merge.

    Args:
        config: the main file, as given by a flag; None: found as ``locate.find_config`` does.
        environ: the environment.
        overrides: dotted keys and their values, as given by flags.
        flag: what problems with ``overrides`` are said to come from.
        queue: where the jobs of a daemon that runs wait until it is restarted; None: where the settings say.
        system: where the machine's own configuration, state and sockets are.

    Raises:
        MisconfiguredError: ``problems`` holds all there are, by source and line.
    """
    merged = Merged()
    problems: list[str] = []
    for file in locate.config_files(locate.find_config(config, environ, system=system)):
        try:
            merged.add(file_layer(file))
        except MisconfiguredError as error:
            problems += error.problems
    if problems:
        # The other files are not checked: what they need may stand in the one that cannot be understood.
        raise misconfigured(problems)
    for layer in environment_layers(environ, merged.document):
        merged.add(layer)
    for layer in flag_layers(overrides or {}, flag):
        merged.add(layer)
    _complete(merged, environ, system)
    settings = _checked(merged)
    return _with_retries_of_the_queue(settings) if (queue or settings.queue) == "pubsub" else settings


def _complete(merged: Merged, environ: Mapping[str, str], system: places.Places) -> None:
    """Set what a table does not say and its surroundings do; make paths absolute."""
    for pattern in _PATHS:
        _anchor(merged, merged.document, pattern, ())
    daemon = merged.document.setdefault("daemon", {})
    if isinstance(daemon, dict):
        usual = places.state_dir(environ, system=system)
        state = daemon.setdefault("state_dir", str(usual))
        base = Path(state) if isinstance(state, str) else usual
        daemon.setdefault("runtime_dir", str(places.runtime_dir(environ, base, system=system)))
    project = environ.get("GOOGLE_CLOUD_PROJECT")
    pubsub = merged.document.setdefault("pubsub", {})
    if project and isinstance(pubsub, dict):
        pubsub.setdefault("project", project)
    flows = merged.document.get("flows")
    for name, flow in flows.items() if isinstance(flows, dict) else ():
        if isinstance(flow, dict):
            _complete_flow(merged, name, flow)


def _complete_flow(merged: Merged, name: str, flow: dict[str, Any]) -> None:
    runs = "entrypoint" if "entrypoint" in flow else "command"
    origin = merged.origin(("flows", name, runs))
    if origin:
        flow.setdefault("directory", str(origin.folder.absolute()))
    python = flow.get("python")
    if isinstance(python, str) and "/" in python:
        _anchor(merged, flow, ("python",), ("flows", name))


def _anchor(merged: Merged, table: Any, pattern: KeyPath, above: KeyPath) -> None:
    """Put the folder of the file before each path that ``pattern`` matches; ``*`` matches every key."""
    if not isinstance(table, dict):
        return
    for key in list(table) if pattern[0] == "*" else [pattern[0]]:
        here, value = (*above, key), table.get(key)
        if len(pattern) > 1:
            _anchor(merged, value, pattern[1:], here)
        elif isinstance(value, str) and value and not value.startswith("~"):
            table[key] = str(merged.origins[here].folder.absolute() / value)


def _checked(merged: Merged) -> Settings:
    """The settings in the document, where nothing is wrong with it."""
    found: list[Problem] = []
    flows = merged.document.get("flows")
    for name, flow in flows.items() if isinstance(flows, dict) else ():
        if isinstance(flow, dict):
            if "name" in flow:
                found.append(Problem(("flows", name, "name"), "unknown key; a flow's table is its name"))
            flow["name"] = name
    found += _too_short(merged.document)
    try:
        settings = Settings.model_validate(merged.document)
    except ValidationError as error:
        found += problems_of(error, merged.origins)
    else:
        if not found:
            return settings
    raise misconfigured(report(found, merged))


def _too_short(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Flows whose suspended jobs would make room before a suspension is over."""
    default = IdleSettings.model_fields["suspend_min"].default
    least = _seconds(document.get("idle", {}), "suspend_min", default)
    flows = document.get("flows")
    for name, flow in flows.items() if isinstance(flows, dict) else ():
        longest = _seconds(flow, "suspend_max", None)
        if least is not None and longest is not None and longest < least:
            text = f"must not be shorter than idle.suspend_min ({least:g} s)"
            yield Problem(("flows", name, "suspend_max"), text)


def _seconds(table: object, key: str, default: float | None) -> float | None:
    """The duration in a table that has not been checked; None where it is none."""
    if not isinstance(table, Mapping) or key not in table:
        return default
    with suppress(ValueError):
        return duration(table[key])
    return None


def _with_retries_of_the_queue(settings: Settings) -> Settings:
    """With Pub/Sub, its ``max_retries`` is that of every flow that sets none."""
    retries = {"max_retries": settings.pubsub.max_retries}
    flows = {
        name: flow if "max_retries" in flow.model_fields_set else flow.model_copy(update=retries)
        for name, flow in settings.flows.items()
    }
    return settings.model_copy(update={"flows": flows})
