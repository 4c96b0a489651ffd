"""``create``: make a batch of a flow, its records and its parameters."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from typing import Any

import click

from buttermilkd.cli.identifiers import complete_flows
from buttermilkd.cli.output import print_json, visible
from buttermilkd.cli.progress import counts, done, follow, has_ended
from buttermilkd.cli.session import Session, common_options
from buttermilkd.cli.times import duration
from buttermilkd.client import Created
from buttermilkd.errors import Exit, TimedOutError
from buttermilkd.jobs import Status
from buttermilkd.messages import ERROR_POLICIES, BatchView, CreateBatch
from buttermilkd.plurals import count
from buttermilkd.records import FORMATS, from_path, given, read


@click.command(short_help="Create a batch of jobs.")
@click.argument("flow", shell_complete=complete_flows)
@click.option(
    "-r", "--record", "ids", multiple=True, metavar="ID", help="A record; may be given several times."
)
@click.option(
    "--records", "source", metavar="FILE|-", help="A file of records, a quoted glob, or - for standard input."
)
@click.option(
    "--format", "file_format", type=click.Choice(FORMATS), help="Of the file. Default: by its suffix."
)
@click.option("--field", metavar="NAME", help="The CSV column or JSON member that holds the id.")
@click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter, as JSON or text. A list, or a key given several times, makes a variant of each value.",
)
@click.option("--shuffle/--no-shuffle", default=None, help="Shuffle the records. Default: as the flow says.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Shuffle in this order.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take at most N records, after shuffling.")
@click.option("--priority", type=int, default=0, metavar="N", help="Higher goes first.")
@click.option("--concurrency", type=click.IntRange(1), metavar="N", help="At most N of its jobs at once.")
@click.option(
    "--on-error",
    "error_policy",
    type=click.Choice(ERROR_POLICIES),
    default="continue",
    help="What a failed job means for the others.",
)
@click.option("--id", "batch_id", metavar="BATCH", help="The batch's id. Default: one is made.")
@click.option("--dry-run", is_flag=True, help="Check and count everything, and create nothing.")
@click.option(
    "--direct",
    is_flag=True,
    help="Publish it to Pub/Sub from here, where no daemon runs; it must be configured.",
)
@click.option("--wait", is_flag=True, help="Follow it to its end; exit with 6 if any job failed.")
@click.option(
    "--timeout", type=duration, metavar="DURATION", help="Stop waiting after this long, such as 30m."
)
@common_options
@click.pass_obj
def create(
    session: Session,
    /,
    flow: str,
    ids: tuple[str, ...],
    source: str | None,
    file_format: str | None,
    field: str | None,
    parameters: tuple[str, ...],
    *,
    wait: bool,
    timeout: float | None,
    **options: Any,
) -> Exit:
    """Create a batch of FLOW: one job for each record and each combination of parameters.

    Without records, the flow's own are taken.
    """
    if wait and options["direct"]:
        raise click.UsageError(
            "--wait needs a daemon that tells when it has ended: it cannot go with --direct"
        )
    if timeout is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")
    if source is None and (file_format or field):
        raise click.UsageError("--format and --field go with --records")
    return create_batch(
        session,
        flow,
        records=_records(ids, source, file_format, field),
        parameters=parse_parameters(parameters),
        wait=wait,
        timeout=timeout,
        **options,
    )


def create_batch(
    session: Session,
    flow: str,
    *,
    records: Iterable[str] | None,
    parameters: dict[str, Any],
    wait: bool,
    timeout: float | None = None,
    direct: bool = False,
    **options: Any,
) -> Exit:
    """Create a batch, print it and, where asked, follow it to its end. ``options`` are ``Client.create``'s."""
    if direct:
        created = _directly(session, CreateBatch(flow, parameters=parameters, **options), records)
    else:
        created = session.client().create(flow, records, parameters=parameters, **options)
    waits = wait and not created.dry_run
    if not session.json:
        _print_created(session, created, follows=waits, direct=direct)
    elif not waits:
        print_json(asdict(created))
    return _wait(session, created, timeout) if waits else Exit.OK


def _directly(session: Session, request: CreateBatch, records: Iterable[str] | None) -> Created:
    # It takes a second to import, and no other command needs it.
    from buttermilkd.direct import create_directly  # noqa: PLC0415

    return Created.of(create_directly(session.config, request, records))


def _records(
    ids: tuple[str, ...], source: str | None, file_format: str | None, field: str | None
) -> Iterable[str] | None:
    if source is None:
        return list(given(ids)) if ids else None
    listed: Iterator[str]
    if source == "-":
        listed = read(sys.stdin.buffer, source="standard input", file_format=file_format, field=field)
    else:
        listed = from_path(source, file_format=file_format, field=field)
    return chain(given(ids), listed) if ids else listed


def parse_parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parameters by name; a name that was given several times has a list of its values."""
    values: dict[str, list[Any]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{pair!r} is no parameter; write KEY=VALUE")
        values.setdefault(name, []).append(_value(text))
    return {name: given if len(given) > 1 else given[0] for name, given in values.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> Any:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(constant)


def _print_created(session: Session, created: Created, *, follows: bool, direct: bool) -> None:
    verb = "would create" if created.dry_run else "created"
    size = f"{count(created.jobs, 'job')} of {created.flow}"
    if created.variants > 1:
        size += f" ({count(created.records, 'record')} x {count(created.variants, 'variant')})"
    session.say(f"{verb} {click.style(created.batch_id, bold=True)}: {size}")
    if created.duplicates:
        twice = count(created.duplicates, "record that was", "records that were")
        session.note(f"dropped {twice} given more than once")
    if created.seed is not None:
        session.advise(f"shuffled; the same order again: --seed {created.seed}")
    if not created.dry_run and not follows:
        where = ", on a host whose daemon runs" if direct else ""
        session.advise(f"follow it{where}: buttermilkctl status {created.batch_id} --follow")


def _wait(session: Session, created: Created, timeout: float | None) -> Exit:
    try:
        view = follow(session, session.client(), created.batch_id, timeout=timeout)
    except KeyboardInterrupt:
        session.advise(f"it goes on; to stop it: buttermilkctl cancel {created.batch_id}")
        raise
    if session.json:
        print_json({**asdict(created), "batch": view})
    if not has_ended(view):
        left = view["total"] - done(view)
        unended = count(view["total"], "job has not ended", "jobs have not ended")
        raise TimedOutError(
            f"cannot wait any longer for {view['batch_id']}: {left:,} of {unended}",
            hint=f"it goes on; follow it: buttermilkctl status {view['batch_id']} --follow",
        )
    return _ended(session, view)


def _ended(session: Session, view: BatchView) -> Exit:
    if not session.json:
        session.say(f"{visible(view['batch_id'])} {view['status']}: {counts(view)}")
    if view["failed"]:
        session.advise(f"what failed: buttermilkctl jobs {view['batch_id']} --status failed")
        return Exit.FAILED_JOBS
    if view["completed"]:
        session.advise(f"its results: buttermilkctl results {view['batch_id']}")
    return Exit.OK if view["status"] == Status.COMPLETED else Exit.FAILURE
