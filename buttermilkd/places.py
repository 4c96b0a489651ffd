"""Where an installation keeps things that nobody has placed. Standard library only: web servers ask it too."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

CONTROL_SOCKET = "control.sock"
ACTIVITY_SOCKET = "activity.sock"
JOBS_SOCKET = "jobs.sock"
"""Where the launcher of jobs listens, where it is a service of its own."""
ADMIN_GROUPS = ("buttermilk",)
"""Whose members may change things, unless ``control.admin_groups`` says so."""


class Places(NamedTuple):
    """Where an installation for the whole machine keeps things."""

    config: Path = Path("/etc/buttermilkd/buttermilkd.toml")
    state: Path = Path("/var/lib/buttermilkd")
    runtime: Path = Path("/run/buttermilkd")


SYSTEM = Places()


def state_dir(environ: Mapping[str, str], *, uid: int | None = None, system: Places = SYSTEM) -> Path:
    """Where the ledger is, unless ``daemon.state_dir`` says so; ``uid`` is the process's own by default."""
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if _is_root(uid):
        return system.state
    return xdg(environ, "XDG_STATE_HOME", ".local/state") / "buttermilkd"


def runtime_dir(
    environ: Mapping[str, str], state: Path, *, uid: int | None = None, system: Places = SYSTEM
) -> Path:
    """Where the sockets are, unless ``daemon.runtime_dir`` says so; ``state`` is the state directory."""
    given = environ.get("BUTTERMILKD_RUNTIME_DIR") or environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if _is_root(uid):
        return system.runtime
    users = environ.get("XDG_RUNTIME_DIR", "")
    return Path(users) / "buttermilkd" if users.startswith("/") else state / "run"


def activity_socket(
    explicit: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    *,
    uid: int | None = None,
    system: Places = SYSTEM,
) -> Path:
    """Where a web server reports to.

    In this order: ``explicit``, ``$BUTTERMILKD_ACTIVITY_SOCKET``, the folder ``$BUTTERMILKD_RUNTIME_DIR``, the
    system's daemon where there is one, the user's own.
    """
    given = explicit or environ.get("BUTTERMILKD_ACTIVITY_SOCKET")
    if given:
        return Path(given)
    if chosen := environ.get("BUTTERMILKD_RUNTIME_DIR"):
        return Path(chosen) / ACTIVITY_SOCKET
    systems = system.runtime / ACTIVITY_SOCKET
    if os.path.exists(systems):  # noqa: PTH110 - Path.exists raises where a folder may not be entered
        return systems
    # The variables that systemd sets for a service's folders are here the web server's own, not the daemon's.
    users = {name: value for name, value in environ.items() if not name.endswith("_DIRECTORY")}
    return (
        runtime_dir(users, state_dir(users, uid=uid, system=system), uid=uid, system=system) / ACTIVITY_SOCKET
    )


def _is_root(uid: int | None) -> bool:
    return (os.geteuid() if uid is None else uid) == 0


def xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """A base directory of the user's; one that is not absolute is ignored, as its specification wants."""
    base = environ.get(variable, "")
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - never raises
    return Path(base) if base.startswith("/") else Path(home, below_home)
