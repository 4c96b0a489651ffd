"""``jobs``, ``results`` and ``logs``: what a batch is made of and what it left."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from buttermilkd.cli.batches import collect
from buttermilkd.cli.identifiers import batch_argument, complete_ids
from buttermilkd.cli.output import (
    STATUSES,
    Column,
    parameters_of,
    print_json,
    print_table,
    status_of,
    without_empty,
    word,
)
from buttermilkd.cli.session import Session, common_options
from buttermilkd.cli.times import between
from buttermilkd.client import Client
from buttermilkd.errors import NotFoundError
from buttermilkd.messages import JobView, ResultView

_COLUMNS = (
    Column("JOB"),
    Column("STATUS"),
    Column("RECORD"),
    Column("PARAMETERS"),
    Column("ATTEMPT", right=True),
    Column("TIME", right=True),
    Column("WHY"),
)
_FIELDS = (
    "job_id",
    "record_id",
    "parameters",
    "status",
    "attempt",
    "result",
    "error",
    "started_at",
    "ended_at",
)


@click.command(short_help="List a batch's jobs.")
@batch_argument()
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only those with this status.")
@click.option("--limit", type=click.IntRange(1), default=100, metavar="N", help="At most N; default 100.")
@common_options
@click.pass_obj
def jobs(session: Session, batch: str, status: str | None, limit: int) -> None:
    """List a batch's jobs."""
    client = session.client()

    def page(size: int, cursor: str | None) -> Mapping[str, Any]:
        return client.jobs(batch, status=status, limit=size, cursor=cursor)

    found, following = collect(page, "jobs", limit)
    if session.json:
        print_json({"jobs": found, "next": following})
        return
    if not found:
        session.note(f"no {status} jobs" if status else "no jobs")
        return
    columns, rows = without_empty(_COLUMNS, [_row(job) for job in found])
    print_table(session, columns, rows)
    if following:
        session.advise(f"there are more: --limit {limit * 10}")


def _row(job: JobView) -> list[str]:
    return [
        job["job_id"],
        status_of(job),
        job["record_id"],
        parameters_of(job["parameters"]),
        str(job["attempt"]),
        _time(job),
        job["cause"] or "",
    ]


def _time(job: JobView) -> str:
    """How long its attempt took, or how long ago the one that runs began."""
    if job["ended_at"] is None:
        return f"for {between(job['started_at'], None)}" if job["status"] == "running" else "-"
    return between(job["started_at"], job["ended_at"])


@click.command(short_help="Print the results of a batch.")
@batch_argument()
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    help="An object a line (the default), or a table with a header.",
)
@common_options
@click.pass_obj
def results(session: Session, batch: str, file_format: str) -> None:
    """Print the result of each ended job of BATCH, as they come."""
    found = session.client().results(batch)
    if session.json:
        _write_document(found)
    elif file_format == "csv":
        _write_csv(found)
    else:
        for result in found:
            sys.stdout.write(f"{json.dumps(result, ensure_ascii=False)}\n")
    sys.stdout.flush()


def _write_document(found: Iterator[ResultView]) -> None:
    """``{"results": [...]}``, written as it comes: a batch may have millions."""
    separator = '{"results": ['
    for result in found:
        sys.stdout.write(f"{separator}\n{json.dumps(result, ensure_ascii=False)}")
        separator = ","
    sys.stdout.write("\n]}\n" if separator == "," else f"{separator}]}}\n")


def _write_csv(found: Iterator[ResultView]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_FIELDS)
    for result in found:
        values: Mapping[str, Any] = result
        writer.writerow(["" if values[name] is None else word(values[name]) for name in _FIELDS])


@click.command(short_help="Print what a batch's jobs printed.")
@click.argument("item", metavar="BATCH|JOB", shell_complete=complete_ids)
@click.option("--follow", "follows", is_flag=True, help="Go on until it has ended.")
@common_options
@click.pass_obj
def logs(session: Session, item: str, *, follows: bool) -> None:
    """Print what a job, or each job of a batch, printed."""
    client = session.client()
    chunks = client.log(item, follow=follows)
    if session.json:
        print_json({"id": item, "log": b"".join(chunks).decode(errors="replace")})
        return
    printed = False
    for chunk in chunks:
        printed = True
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    if not printed and "." in item:
        _find(client, item)


def _find(client: Client, job_id: str) -> None:
    """Raises NotFoundError: the log is on another host, and so the job has not printed nothing."""
    host = client.job(job_id)["host"]
    if host is not None and host != client.status()["host"]:
        raise NotFoundError(
            f"cannot show what {job_id} printed: it ran on {host}, and its log is there",
            hint=f"there: buttermilkctl logs {job_id}",
        )
