"""Where the configuration is, and what it says of places. Cheap to import, for the command line."""

import os
from collections.abc import Mapping
from pathlib import Path

from buttermilkd.config.layers import Merged, environment_layers, file_layer, misconfigured
from buttermilkd.errors import MisconfiguredError
from buttermilkd.places import ADMIN_GROUPS, CONTROL_SOCKET, SYSTEM, Places, runtime_dir, state_dir, xdg


def find_config(explicit: Path | None, environ: Mapping[str, str], *, system: Places = SYSTEM) -> Path | None:
    """The main configuration file; None where there is none, which is fine.

    In this order: ``explicit``, ``$BUTTERMILKD_CONFIG``, the system's, the user's own.

    Raises:
        MisconfiguredError: ``explicit`` or ``$BUTTERMILKD_CONFIG`` names no file.
    """
    variable = environ.get("BUTTERMILKD_CONFIG")
    named = explicit or (Path(variable) if variable else None)
    if named:
        if not os.path.exists(named):  # noqa: PTH110 - Path.exists raises where a folder may not be entered
            source = "--config" if explicit else "$BUTTERMILKD_CONFIG"
            raise MisconfiguredError(
                f"cannot find the configuration {named}, which {source} names",
                problems=(f"{named}: does not exist, though {source} names it",),
                hint="give the path of an existing TOML file, or leave it out: the defaults need no file",
            )
        return named
    users = xdg(environ, "XDG_CONFIG_HOME", ".config") / "buttermilkd/buttermilkd.toml"
    return next((file for file in (system.config, users) if os.path.exists(file)), None)  # noqa: PTH110


def config_files(main: Path | None) -> list[Path]:
    """The main file, then ``conf.d/*.toml`` beside it by name; later ones count over earlier ones.

    Raises:
        MisconfiguredError: the folder ``conf.d`` cannot be read.
    """
    if main is None:
        return []
    folder = main.parent / "conf.d"
    try:
        more = sorted(file for file in folder.iterdir() if file.suffix == ".toml" and file.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        more = []
    except OSError as error:
        raise misconfigured([f"{folder}: cannot be read: {error.strerror}"]) from error
    return [main, *more]


def control_socket(
    explicit_socket: Path | None,
    config: Path | None,
    environ: Mapping[str, str],
    *,
    uid: int | None = None,
    system: Places = SYSTEM,
) -> Path:
    """Where a client finds the daemon.

    In this order: ``explicit_socket``, ``$BUTTERMILKD_CONTROL_SOCKET``, the runtime directory of the same
    configuration as the daemon's. A user who names none of these and has no daemon of their own gets the
    system's.

    Raises:
        MisconfiguredError: a configuration file cannot be found, read or understood.
    """
    given = explicit_socket or environ.get("BUTTERMILKD_CONTROL_SOCKET")
    if given:
        return Path(given)
    configured = _configured(config, environ, system)
    if "runtime_dir" in configured:
        return configured["runtime_dir"] / CONTROL_SOCKET
    state = configured.get("state_dir", state_dir(environ, uid=uid, system=system))
    own = runtime_dir(environ, state, uid=uid, system=system) / CONTROL_SOCKET
    systems = system.runtime / CONTROL_SOCKET
    is_chosen = _is_named(config, environ) or environ.get("BUTTERMILKD_RUNTIME_DIR")
    if not is_chosen and not os.path.exists(own) and os.path.exists(systems):  # noqa: PTH110
        return systems
    return own


def configured_state_dir(
    config: Path | None, environ: Mapping[str, str], *, uid: int | None = None, system: Places = SYSTEM
) -> Path:
    """Where the daemon of this configuration keeps its ledger.

    Raises:
        MisconfiguredError: a configuration file cannot be found, read or understood.
    """
    return _configured(config, environ, system).get("state_dir") or state_dir(environ, uid=uid, system=system)


def configured_queue(config: Path | None, environ: Mapping[str, str], *, system: Places = SYSTEM) -> object:
    """What the daemon of this configuration has as its ``queue``, right or wrong; ``local`` where it is not set.

    Raises:
        MisconfiguredError: a configuration file cannot be found, read or understood.
    """
    return _merged(config, environ, system).document.get("queue", "local")


def configured_admin_groups(
    config: Path | None, environ: Mapping[str, str], *, system: Places = SYSTEM
) -> list[str]:
    """Groups whose members the daemon of this configuration lets change things, as far as they are groups at all.

    Raises:
        MisconfiguredError: a configuration file cannot be found, read or understood.
    """
    table = _merged(config, environ, system).document.get("control")
    groups = table.get("admin_groups") if isinstance(table, dict) else None
    return [str(group) for group in groups] if isinstance(groups, list) else [*ADMIN_GROUPS]


def _configured(config: Path | None, environ: Mapping[str, str], system: Places) -> dict[str, Path]:
    """The directories that files and environment set."""
    merged = _merged(config, environ, system)
    table = merged.document.get("daemon")
    found: dict[str, Path] = {}
    for key in ("state_dir", "runtime_dir"):
        value = table.get(key) if isinstance(table, dict) else None
        if value is None:
            continue
        origin = merged.origins["daemon", key]
        if not isinstance(value, str) or not value or "\0" in value:
            raise misconfigured([f"{origin}: daemon.{key}: must be a path in quotes"])
        found[key] = (origin.folder / Path(os.path.expanduser(value))).absolute()  # noqa: PTH111
    return found


def _merged(config: Path | None, environ: Mapping[str, str], system: Places) -> Merged:
    """What files and environment say, unchecked."""
    files = config_files(find_config(config, environ, system=system))
    if not _is_named(config, environ):
        # A system's configuration that only the daemon may read says nothing to its users, and is no error.
        files = [file for file in files if os.access(file, os.R_OK)]
    merged = Merged()
    for file in files:
        merged.add(file_layer(file))
    for layer in environment_layers(environ, merged.document):
        merged.add(layer)
    return merged


def _is_named(config: Path | None, environ: Mapping[str, str]) -> bool:
    """Whether somebody chose the configuration, in contrast to one that is found."""
    return bool(config or environ.get("BUTTERMILKD_CONFIG"))
