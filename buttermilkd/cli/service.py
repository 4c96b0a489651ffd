"""``service``: buttermilkd as a service of systemd, for those who installed it with pip or pipx."""

import os
import sys
from pathlib import Path

import click

from buttermilkd.cli.output import print_json
from buttermilkd.cli.session import Session, common_options
from buttermilkd.errors import Exit, NotFoundError
from buttermilkd.installation.carrying import carry_out
from buttermilkd.installation.machine import (
    demand_root,
    demand_systemd,
    demand_visible,
    next_steps,
    restart_due,
)
from buttermilkd.installation.plans import Installed, installing, uninstalling
from buttermilkd.installation.targets import Target, machine, one_user
from buttermilkd.installation.templates import drop_ins, rendered, units

_user = click.option("--user", is_flag=True, help="For yourself alone, without root: systemctl --user.")
_dry_run = click.option("--dry-run", is_flag=True, help="Only print each file and each command.")


@click.group(short_help="Make buttermilkd a service of systemd.")
def service() -> None:
    """Make buttermilkd a service of systemd, or take it away again. Nothing is started or enabled by it."""


@service.command("print", short_help="Print units.")
@click.argument("names", nargs=-1, metavar="[UNIT | DROP-IN]...")
@_user
@common_options
@click.pass_obj
def print_units(session: Session, names: tuple[str, ...], user: bool) -> Exit:
    """Print the units as they would be installed, or just those named: of one, exactly its text."""
    target, installed = _target(user=user), _installed()
    templates = {unit.name: unit for unit in units(user=user)}
    chosen = list(names or templates)
    if not user:
        templates |= drop_ins()
    if unknown := [name for name in chosen if name not in templates]:
        raise NotFoundError(
            f"cannot print {unknown[0]}: there is no such unit", hint=f"there are: {', '.join(templates)}"
        )
    texts = {name: rendered(templates[name], installed.folder) for name in chosen}
    if session.json:
        print_json({"units": texts})
    elif len(names) == 1:
        click.echo(texts[names[0]], nl=False)
    else:
        headed = (f"# {_place(target, templates[name])}\n{text}" for name, text in texts.items())
        click.echo("\n".join(headed), nl=False)
    return Exit.OK


@service.command(short_help="Install units, configuration, completions and man pages.")
@click.option("--drop-in", "wanted", multiple=True, metavar="NAME", help="Add this to its unit; repeatable.")
@_user
@_dry_run
@common_options
@click.pass_obj
def install(session: Session, wanted: tuple[str, ...], user: bool, dry_run: bool) -> Exit:
    """Install units for the programs that are installed here, with completions and man pages.

    A configuration that is there is kept. May be repeated, and has to be after an upgrade.
    """
    target, installed = _target(user=user), _installed()
    if not user:
        demand_visible(installed)
    if not dry_run:
        _demand(installed, "install", user=user)
    told = _Told(session)
    carry_out(installing(target, installed, wanted), told, dry_run=dry_run)
    restart = not dry_run and restart_due(target, installed)
    if restart:
        session.advise("a restart is due: the daemon that runs is older than what is installed now")
    told.end(next_steps(target, restart=restart), restart_due=restart)
    return Exit.OK


@service.command(short_help="Stop the service and remove what install made.")
@click.option("--purge", is_flag=True, help="Configuration, ledger and the daemon's user as well.")
@_user
@_dry_run
@common_options
@click.pass_obj
def uninstall(session: Session, purge: bool, user: bool, dry_run: bool) -> Exit:
    """Stop the service, and remove whatever install made.

    Configuration and ledger stay, and it is said where they are and how they are removed.
    """
    target, installed = _target(user=user), _installed()
    if not dry_run:
        _demand(installed, "uninstall", user=user)
    told = _Told(session)
    carry_out(uninstalling(target, installed, purge=purge), told, dry_run=dry_run)
    told.end([])
    return Exit.OK


class _Told:
    """What has been told of the steps: line by line, or as one document at the end."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        self._lines.append(line)
        if not self._session.json:
            self._session.say(line)

    def end(self, following: list[str], **facts: bool) -> None:
        if self._session.json:
            steps = [
                dict(zip(("verb", "subject"), line.split(maxsplit=1), strict=True)) for line in self._lines
            ]
            print_json({"steps": steps, "next": following, **facts})
        elif following:
            self._session.note("\n".join(["next:", *(f"  {command}" for command in following)]))


def _target(*, user: bool) -> Target:
    return one_user(os.environ) if user else machine()


def _installed() -> Installed:
    return Installed.found(sys.argv[0])


def _demand(installed: Installed, verb: str, *, user: bool) -> None:
    demand_systemd()
    if not user:
        demand_root(installed, verb, os.geteuid())


def _place(target: Target, template: Path) -> Path:
    folder = template.parent.name
    return target.units / folder / template.name if folder.endswith(".d") else target.units / template.name
