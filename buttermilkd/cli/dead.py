"""``dead``: jobs that failed for good and messages that cannot be read; looked at, requeued, dropped."""

import sys
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from buttermilkd.cli.batches import collect
from buttermilkd.cli.identifiers import complete_flows, complete_letters, letters_argument
from buttermilkd.cli.output import (
    MOST_SHOWN,
    Column,
    parameters_of,
    print_json,
    print_table,
    shown,
    visible,
    without_empty,
)
from buttermilkd.cli.session import Session, common_options
from buttermilkd.cli.times import ago
from buttermilkd.errors import BY_KIND, ButtermilkError, Exit, InvalidRequestError
from buttermilkd.messages import DeadLetterView, DeadOutcomesView, DeadOutcomeView
from buttermilkd.messages.dead import MOST_AT_ONCE
from buttermilkd.plurals import count

MOST_BYTES_SHOWN = 4000

_COLUMNS = (
    Column("LETTER"),
    Column("FLOW"),
    Column("RECORD"),
    Column("PARAMETERS"),
    Column("ATTEMPT", right=True),
    Column("DEAD", right=True),
    Column("WHY"),
)


@click.group(short_help="Look at what failed for good; requeue or drop it.")
@common_options
def dead() -> None:
    """Look at jobs that failed for good and at messages that cannot be read; requeue or drop them."""


@dead.command("list", short_help="List dead letters.")
@click.option("--flow", metavar="FLOW", shell_complete=complete_flows, help="Only jobs of this flow.")
@click.option("--limit", type=click.IntRange(1), default=100, metavar="N", help="At most N; default 100.")
@common_options
@click.pass_obj
def list_letters(session: Session, flow: str | None, limit: int) -> None:
    """List dead letters, newest first: jobs by their ids, messages as message-N."""
    client = session.client()

    def page(size: int, cursor: str | None) -> Mapping[str, Any]:
        return client.dead(flow=flow, limit=size, cursor=cursor)

    found, following = collect(page, "dead", limit)
    if session.json:
        print_json({"dead": found, "next": following})
        return
    if not found:
        session.note(f"no dead letters of {flow}" if flow else "no dead letters")
        return
    columns, rows = without_empty(_COLUMNS, [_row(letter) for letter in found])
    print_table(session, columns, rows)
    if following:
        session.advise(f"there are more: --limit {limit * 10}")
    else:
        session.advise("once it is mended: buttermilkctl dead requeue LETTER…, or dead drop LETTER…")


def _row(letter: DeadLetterView) -> list[str]:
    return [
        letter["id"],
        letter["flow"] or "",
        letter["record_id"] or "",
        parameters_of(letter["parameters"] or {}),
        "" if letter["attempt"] is None else str(letter["attempt"]),
        ago(letter["at"]),
        letter["reason"],
    ]


@dead.command(short_help="Show a dead letter.")
@click.argument("letter_id", metavar="LETTER", shell_complete=complete_letters)
@click.option("--raw", is_flag=True, help="Write a message's bytes as they are, and nothing else.")
@common_options
@click.pass_obj
def show(session: Session, letter_id: str, *, raw: bool) -> None:
    """Show a dead letter: why a job failed, or the message that cannot be read."""
    if raw and session.json:
        raise click.UsageError("--raw and --json exclude each other; --json has the bytes as base64")
    letter = session.client().dead_letter(letter_id)
    if raw:
        sys.stdout.buffer.write(_bytes(letter))
        sys.stdout.buffer.flush()
    elif session.json:
        print_json(letter)
    elif letter["kind"] == "job":
        _print_job(session, letter)
    else:
        _print_message(session, letter)


def _bytes(letter: DeadLetterView) -> bytes:
    """Raises InvalidRequestError."""
    if "data" not in letter:
        raise InvalidRequestError(
            f"cannot write {letter['id']} as it came: it is a job, and no message",
            hint=f"what it printed: buttermilkctl logs {letter['id']}",
        )
    return b64decode(letter["data"])


def _print_job(session: Session, letter: DeadLetterView) -> None:
    session.say(f"{click.style(letter['id'], bold=True)}  {letter['flow']}  failed {ago(letter['at'])}")
    session.say(f"  record: {visible(letter['record_id'] or '')}")
    if letter["parameters"]:
        session.say(f"  parameters: {shown(letter['parameters'])}")
    session.say(f"  attempt {letter['attempt']}")
    session.say(f"  error: {visible((letter['error'] or letter['reason'])[:MOST_SHOWN])}")
    session.advise(f"what it printed: buttermilkctl logs {letter['id']}")


def _print_message(session: Session, letter: DeadLetterView) -> None:
    data = _bytes(letter)
    published = f", published {ago(letter['published_at'])}" if letter["published_at"] else ""
    session.say(f"{click.style(letter['id'], bold=True)}  message  unreadable {ago(letter['at'])}")
    session.say(f"  reason: {visible(letter['reason'][:MOST_SHOWN])}")
    session.say(f"  message id: {visible(letter['message_id'] or '')}{published}")
    for name, value in letter.get("attributes", {}).items():
        session.say(f"  attribute {visible(name)}: {visible(value[:MOST_SHOWN])}")
    session.say(f"  {count(len(data), 'byte')}{':' if data else ''}")
    # Bytes that are no UTF-8 become escapes, and so does whatever would steer a terminal.
    text = data[:MOST_BYTES_SHOWN].decode("utf-8", "backslashreplace")
    for line in text.split("\n") if data else ():
        session.say(f"    {visible(line)}")
    if len(data) > MOST_BYTES_SHOWN:
        session.advise(f"all of it: buttermilkctl dead show {letter['id']} --raw")


@dead.command(short_help="Run dead letters again.")
@letters_argument()
@common_options
@click.pass_obj
def requeue(session: Session, ids: tuple[str, ...]) -> Exit:
    """Run jobs again, each with all of its attempts, and publish messages again."""

    def sentence(letter_id: str) -> str:
        return f"{letter_id}: {'queued' if '.' in letter_id else 'published'} again"

    return _each(session, ids, session.client().requeue_dead, sentence)


@dead.command(short_help="Drop dead letters.")
@letters_argument()
@common_options
@click.pass_obj
def drop(session: Session, ids: tuple[str, ...]) -> Exit:
    """Drop dead letters: jobs are listed no longer and stay failed, messages are deleted."""
    return _each(session, ids, session.client().drop_dead, lambda letter_id: f"dropped {letter_id}")


def _each(
    session: Session,
    ids: tuple[str, ...],
    act: Callable[[Iterable[str]], DeadOutcomesView],
    sentence: Callable[[str], str],
) -> Exit:
    """Do it to all, and tell what became of each; the exit code is that of the first that could not be done."""
    outcomes: list[DeadOutcomeView] = []
    for start in range(0, len(ids), MOST_AT_ONCE):
        outcomes += act(ids[start : start + MOST_AT_ONCE])["outcomes"]
    code = Exit.OK
    for outcome in outcomes:
        if not outcome["done"]:
            error = BY_KIND.get(outcome["kind"] or "", ButtermilkError)
            session.fail(error(outcome["detail"] or f"cannot do it to {outcome['id']}", hint=outcome["hint"]))
            code = code or error.exit_code
        elif not session.json:
            session.say(sentence(outcome["id"]))
    if session.json:
        print_json({"outcomes": outcomes})
    return code
