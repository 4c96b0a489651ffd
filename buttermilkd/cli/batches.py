"""``list``, ``cancel`` and ``retry``."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from buttermilkd.cli.identifiers import complete_flows, items_argument
from buttermilkd.cli.output import STATUSES, Column, print_json, print_table
from buttermilkd.cli.progress import done, has_ended, percent
from buttermilkd.cli.session import Session, common_options
from buttermilkd.cli.times import ago, span
from buttermilkd.client import Client
from buttermilkd.errors import ButtermilkError, Exit
from buttermilkd.messages import BatchView
from buttermilkd.plurals import count

PAGE = 1000

_COLUMNS = (
    Column("BATCH"),
    Column("FLOW"),
    Column("STATUS"),
    Column("DONE", right=True),
    Column("JOBS", right=True),
    Column("FAILED", right=True),
    Column("CREATED", right=True),
    Column("LEFT", right=True),
)


@click.command("list", short_help="List the active batches.")
@click.option("--status", type=click.Choice(list(STATUSES)), help="Only those with this status.")
@click.option("--flow", metavar="FLOW", shell_complete=complete_flows, help="Only those of this flow.")
@click.option("--all", "include_ended", is_flag=True, help="Ended ones too.")
@click.option("--limit", type=click.IntRange(1), default=100, metavar="N", help="At most N; default 100.")
@common_options
@click.pass_obj
def list_batches(
    session: Session, status: str | None, flow: str | None, *, include_ended: bool, limit: int
) -> None:
    """List the active batches, newest first; with --all or the status of an ended one, also those."""
    include_ended = include_ended or status in ("completed", "failed", "cancelled")
    client = session.client()

    def page(size: int, cursor: str | None) -> Mapping[str, Any]:
        return client.batches(
            status=status, flow=flow, include_ended=include_ended, limit=size, cursor=cursor
        )

    batches, following = collect(page, "batches", limit)
    if session.json:
        print_json({"batches": batches, "next": following})
        return
    if not batches:
        session.note(
            "no batches" if include_ended else "no active batches; --all lists those that have ended"
        )
        return
    print_table(session, _COLUMNS, [_row(batch) for batch in batches])
    if following:
        session.advise(f"there are more: --limit {limit * 10}")


def collect(
    page: Callable[[int, str | None], Mapping[str, Any]], name: str, limit: int
) -> tuple[list[Any], str | None]:
    """Up to ``limit`` items of a list that is answered in pages, and the cursor of what follows."""
    items: list[Any] = []
    cursor: str | None = None
    while len(items) < limit:
        answer = page(min(PAGE, limit - len(items)), cursor)
        items += answer[name]
        cursor = answer["next"]
        if not answer[name] or cursor is None:
            break
    return items, cursor


def _row(batch: BatchView) -> list[str]:
    left = "-" if has_ended(batch) or batch["eta_seconds"] is None else span(batch["eta_seconds"])
    return [
        batch["batch_id"],
        batch["flow"],
        batch["status"],
        f"{percent(batch)} %" if done(batch) else "0 %",
        f"{batch['total']:,}",
        f"{batch['failed']:,}",
        ago(batch["created_at"]),
        left,
    ]


@click.command(short_help="Cancel batches or jobs.")
@items_argument()
@click.option("--now", is_flag=True, help="Kill what runs, without giving it time to stop.")
@common_options
@click.pass_obj
def cancel(session: Session, ids: tuple[str, ...], *, now: bool) -> Exit:
    """Cancel batches or jobs: what waits at once, what runs by asking it to stop and then killing it."""

    def act(client: Client, item_id: str) -> tuple[Mapping[str, Any], str]:
        receipt = client.cancel(item_id, now=now)
        return receipt, f"cancelled {receipt['id']}: {receipt['summary']}"

    return _each(session, ids, act)


@click.command(short_help="Run failed or cancelled jobs again.")
@items_argument()
@click.option("--failed", is_flag=True, help="Of a batch only the failed jobs, not the cancelled ones.")
@common_options
@click.pass_obj
def retry(session: Session, ids: tuple[str, ...], *, failed: bool) -> Exit:
    """Queue again failed or cancelled jobs, one by one or all those of a batch."""

    def act(client: Client, item_id: str) -> tuple[Mapping[str, Any], str]:
        answer = client.retry(item_id, failed=failed)
        return answer, f"{answer['id']}: {count(answer['requeued'], 'job')} queued again"

    return _each(session, ids, act)


def _each(
    session: Session, ids: tuple[str, ...], act: Callable[[Client, str], tuple[Mapping[str, Any], str]]
) -> Exit:
    """Do something to each of several ids; one that fails does not keep the others from it.

    As JSON, one id gives the API's answer, several give a list of them.
    """
    client = session.client()
    answers: list[Mapping[str, Any]] = []
    code = Exit.OK
    for item_id in ids:
        try:
            answer, sentence = act(client, item_id)
        except ButtermilkError as error:
            if len(ids) == 1:
                raise
            session.fail(error)
            code = code or error.exit_code
            continue
        answers.append(answer)
        if not session.json:
            session.say(sentence)
    if session.json:
        print_json(answers[0] if len(ids) == 1 else answers)
    return code
