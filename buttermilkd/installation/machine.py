"""Whether buttermilkd can be installed here, and what is to be done once it is."""

from collections.abc import Iterator
from pathlib import Path

from buttermilkd.errors import ButtermilkError, NotPermittedError
from buttermilkd.installation.manager import JOBS_SERVICE, SERVICE, shown, time_of
from buttermilkd.installation.plans import ACCOUNT, PROGRAMS, Installed
from buttermilkd.installation.targets import Target

BOOTED = Path("/run/systemd/system")
"""There where systemd runs the machine: see sd_booted(3)."""
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
"""What the daemon's unit cannot see."""
_COARSE = 0.01
"""Seconds by which the times of files may lag behind the clock."""


def demand_systemd(booted: Path = BOOTED) -> None:
    """Raises ButtermilkError: this machine has none that runs."""
    if not booted.is_dir():
        raise ButtermilkError(
            "cannot install services: systemd does not run this machine",
            hint="run the daemon by other means: buttermilkd --help",
        )


def demand_root(installed: Installed, verb: str, euid: int) -> None:
    """Raises NotPermittedError: the whole machine's files are root's."""
    if euid != 0:
        raise NotPermittedError(
            f"cannot {verb} services of the whole machine: not root",
            hint=f"sudo {installed.program('buttermilkctl')} service {verb}"
            f" (or without root: buttermilkctl service {verb} --user)",
        )


def demand_visible(installed: Installed) -> None:
    """Raises ButtermilkError: the units could not start these programs."""
    if not (installed.folder / "python").exists():
        raise ButtermilkError(
            f"cannot install services for programs in {installed.folder}: they have no environment of their own",
            hint="sudo scripts/install in a checkout, or sudo pipx install --global buttermilkd",
        )
    for place in {installed.folder, installed.folder.resolve(), installed.python.resolve()}:
        for hidden in _HIDDEN:
            if place.is_relative_to(hidden):
                raise ButtermilkError(
                    f"cannot install services for programs in {place}: what is below {hidden} is hidden from them",
                    hint="install into /opt: sudo scripts/install in a checkout"
                    " (or for yourself alone: buttermilkctl service install --user)",
                )


def restart_due(target: Target, installed: Installed) -> bool:
    """Whether a daemon runs, or its jobs' service, that is older than its programs or its unit."""
    units = shown(target, "ActiveState,ExecMainStartTimestamp", SERVICE, JOBS_SERVICE)
    running = {
        name: started
        for name, unit in units.items()
        if unit.get("ActiveState") in {"active", "reloading"}
        and (started := time_of(unit.get("ExecMainStartTimestamp", ""))) is not None
    }
    if SERVICE not in running:
        return False
    # Where jobs have no service yet, it is the daemon's next start that finds the new one.
    jobs = running.get(JOBS_SERVICE, running[SERVICE])
    return any(
        file.stat().st_mtime >= started - _COARSE
        for service, started in ((SERVICE, running[SERVICE]), (JOBS_SERVICE, jobs))
        for file in _runs_on(target, installed, service)
    )


def _runs_on(target: Target, installed: Installed, service: str) -> Iterator[Path]:
    files = [installed.folder / program for program in PROGRAMS]
    files += [target.units / service, *(target.units / f"{service}.d").glob("*.conf")]
    return (file for file in files if file.exists())


def next_steps(target: Target, *, restart: bool) -> list[str]:
    """The commands that are up to the user."""
    if restart:
        return [f"{_sudo(target)}{' '.join(target.systemctl('restart', 'buttermilkd'))}"]
    start = " ".join(target.systemctl("enable", "--now", "buttermilkd"))
    edit = f"$EDITOR {target.config}" if target.user else f"sudoedit {target.config}"
    commands = [edit, f"{_sudo(target)}{start}", "buttermilkctl doctor"]
    if target.user:
        return [*commands, "sudo loginctl enable-linger $USER   # it runs while you are not logged in"]
    return [
        f"sudo usermod -aG {ACCOUNT} NAME   # for each person who may create and cancel batches",
        *commands,
    ]


def _sudo(target: Target) -> str:
    return "" if target.user else "sudo "
