"""``buttermilkd``: the daemon's command line."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buttermilkd import __version__
from buttermilkd.errors import ButtermilkError, Exit, MisconfiguredError, StorageError
from buttermilkd.plurals import count

if TYPE_CHECKING:
    from buttermilkd.config.settings import PubsubSettings, Settings

LEVELS = ("debug", "info", "warning", "error")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
@click.option(
    "--set", "settings", multiple=True, metavar="TABLE.KEY=VALUE", help="Over the configuration; repeatable."
)
@click.option("--check-config", is_flag=True, help="Check the configuration, and end with 0 or 78.")
@click.option(
    "--check-queue",
    is_flag=True,
    help="Check Pub/Sub, where jobs come from it: a line of JSON for each finding.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append what decides on idleness to FILE; see buttermilkctl idle --replay.",
)
@click.option(
    "--lifeline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Stop once no process holds a shared lock (flock) on FILE any more.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.version_option(__version__, prog_name="buttermilkd")
def main(
    config: Path | None,
    settings: tuple[str, ...],
    *,
    check_config: bool,
    check_queue: bool,
    record: Path | None,
    lifeline: Path | None,
    log_level: str,
) -> None:
    """Run batches of jobs on this machine, only while nobody is using it."""
    try:
        if check_config:
            status = _check(config, settings)
        elif check_queue:
            status = _check_queue(config, settings)
        else:
            status = _run(config, settings, record=record, lifeline=lifeline, log_level=log_level)
    except ButtermilkError as error:
        status = _explain(error, starting=not (check_config or check_queue))
    sys.exit(status)


# What follows is imported where it is needed, so that --help and --version answer at once.


def _loaded(config: Path | None, settings: tuple[str, ...], queue: str | None = None) -> "Settings":
    """The configuration; ``queue`` as ``load`` takes it."""
    from buttermilkd.config.layers import parse_value  # noqa: PLC0415
    from buttermilkd.config.load import load  # noqa: PLC0415

    overrides = {name: parse_value(text) for name, text in _pairs(settings)}
    return load(config, os.environ, overrides, queue=queue)


def _check(config: Path | None, settings: tuple[str, ...]) -> Exit:
    loaded = _loaded(config, settings)
    click.echo(f"configuration is good: {count(len(loaded.flows), 'flow')}")
    return Exit.OK


def _check_queue(config: Path | None, settings: tuple[str, ...]) -> Exit:
    loaded = _loaded(config, settings)
    if loaded.queue != "pubsub":
        return Exit.OK
    return asyncio.run(_examine(loaded.pubsub, loaded.daemon.host))


async def _examine(pubsub: "PubsubSettings", host: str) -> Exit:
    import json  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from buttermilkd.clock import SystemClock  # noqa: PLC0415
    from buttermilkd.queues.pubsub.google import open_broker  # noqa: PLC0415

    assert pubsub.project is not None, "the settings demand it"  # noqa: S101
    status = Exit.OK
    broker = await open_broker(pubsub.project, pubsub.credentials, os.environ)
    try:
        # These import Google's packages, which are there where a broker is.
        from buttermilkd.queues.pubsub.examination import examine  # noqa: PLC0415
        from buttermilkd.queues.pubsub.resources import resources_of  # noqa: PLC0415

        resources = resources_of(pubsub, host)
        async for finding in examine(broker, resources, SystemClock()):
            click.echo(json.dumps(asdict(finding)))
            status = status if finding.ok else Exit.FAILURE
    finally:
        await broker.close()
    return status


def _run(
    config: Path | None,
    settings: tuple[str, ...],
    *,
    record: Path | None,
    lifeline: Path | None,
    log_level: str,
) -> Exit:
    from buttermilkd.clock import SystemClock  # noqa: PLC0415
    from buttermilkd.control.refusal import refuse  # noqa: PLC0415
    from buttermilkd.daemon import service  # noqa: PLC0415
    from buttermilkd.daemon.foundations import ACTIVITY, CONTROL, Given  # noqa: PLC0415
    from buttermilkd.host import logs  # noqa: PLC0415
    from buttermilkd.host.memory import keep_small  # noqa: PLC0415
    from buttermilkd.host.notifier import notifier  # noqa: PLC0415
    from buttermilkd.host.sockets import passed  # noqa: PLC0415

    # Whatever it makes is for its user and group alone, also where its parent had a laxer mask.
    os.umask(os.umask(0o077) | 0o027)
    keep_small()
    # One that hangs on a web server's life is no service of its own: it must not speak for the web server's.
    wanted = lifeline is None
    with (
        notifier(os.environ, SystemClock(), wanted=wanted) as told,
        passed(os.environ, (CONTROL, ACTIVITY)) as sockets,
    ):
        try:
            loaded = _loaded(config, settings)
            with logs.logging_to(level=log_level, host=loaded.daemon.host) as journal:
                given = Given(
                    read=lambda queue: _loaded(config, settings, queue),
                    notifier=told,
                    sockets=sockets,
                    record=record,
                    journal=journal,
                )
                asyncio.run(service.run(loaded, given, lifeline=lifeline))
        except ButtermilkError as error:
            if CONTROL in sockets:
                refuse(sockets[CONTROL], error)
            raise
    return Exit.OK


def _told_to_journal(text: str) -> bool:
    """Whether it is told there, as one record with what mends it."""
    import logging  # noqa: PLC0415

    from buttermilkd.host import logs  # noqa: PLC0415
    from buttermilkd.journal import Kind, about  # noqa: PLC0415

    if not logs.goes_to_journal(sys.stderr):
        return False
    with logs.logging_to(level="info", host=socket.gethostname()) as journal:
        if journal is not None:
            logging.getLogger(__name__).critical("%s", text, extra=about(kind=Kind.CANNOT_START))
        return journal is not None


def _pairs(settings: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [setting.partition("=") for setting in settings]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise click.UsageError(f"--set takes TABLE.KEY=VALUE, not {wrong[0]!r}")
    return [(name, text) for name, _, text in pairs]


def _explain(error: ButtermilkError, *, starting: bool) -> Exit:
    """Say why it failed; ``starting`` where that means that no daemon runs now."""
    problems = error.problems if isinstance(error, MisconfiguredError) else ()
    # The error's own words repeat the first of them, for those who see nothing else.
    told = f"cannot use the configuration: {count(len(problems), 'problem')}" if problems else str(error)
    hint = [f"hint: {error.hint}"] if error.hint else []
    text = "\n".join([*problems, f"error: {told}", *hint])
    if not (starting and _told_to_journal(text)):
        click.echo(text, err=True)
    # The same start would fail the same way: systemd must not try again and again.
    return Exit.BAD_CONFIG if isinstance(error, StorageError | MisconfiguredError) else Exit.FAILURE


if __name__ == "__main__":
    main()
