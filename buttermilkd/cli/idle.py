"""``idle``: whether jobs may run, and why; what became of the machine's time."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from buttermilkd.cli.output import Column, blocks, print_json, print_table, table_of, visible
from buttermilkd.cli.session import Session, common_options
from buttermilkd.cli.timeline import timeline
from buttermilkd.cli.times import clock_time, until
from buttermilkd.client import Client
from buttermilkd.errors import NotRunningError, TimedOutError, UnavailableError
from buttermilkd.messages import IdleView, RunningJobsView

WATCH_EVERY = 1.0
WATCH_PATIENCE = 5.0
"""Seconds after which a daemon that is watched and says nothing is taken to have gone away."""
SILENT = "the daemon does not answer; waiting for it"

_COLUMNS = (Column("SIGNAL"), Column("STATE"), Column("NOW"), Column("BUSY AT"), Column("CLEAR AT"))


@click.command(short_help="Show whether the machine is idle, and why.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes.")
@click.option("--history", is_flag=True, help="Show what the last days went to.")
@click.option("--days", type=click.IntRange(1, 14), help="How many days; seven where it is not given.")
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Decide again on what buttermilkd --record FILE has recorded; needs no daemon.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="idle.KEY=VALUE", help="Another setting for --replay."
)
@common_options
@click.pass_obj
def idle(
    session: Session,
    *,
    watch: bool,
    history: bool,
    days: int | None,
    replay: Path | None,
    changes: tuple[str, ...],
) -> None:
    """Show the verdict, and each signal with what it is now, its thresholds and its timer."""
    if watch and session.json:
        raise click.UsageError("--watch never ends, so it cannot print one JSON document")
    if watch + history + (replay is not None) > 1:
        raise click.UsageError(
            "--watch shows what is, --history what was, --replay what might have been: take one"
        )
    if days is not None and not history:
        raise click.UsageError("--days belongs to --history")
    if changes and replay is None:
        raise click.UsageError("--set belongs to --replay: it changes nothing in a daemon that runs")
    if replay is not None:
        from buttermilkd.cli.replay import show_replay  # noqa: PLC0415 - takes long, and is needed for this alone

        show_replay(session, replay, changes)
        return
    client = session.client(WATCH_PATIENCE) if watch else session.client()
    if history:
        _show_history(session, client, days)
    elif session.json:
        print_json(client.idle())
    elif not watch:
        _show(session, client.idle())
    elif session.animated(sys.stdout):
        _watch_live(session, client)
    else:
        _watch_lines(session, client)


def _show_history(session: Session, client: Client, days: int | None) -> None:
    view = client.idle_history(days=days)
    if session.json:
        print_json(view)
        return
    for line in timeline(view, blocks=blocks(sys.stdout)):
        session.say(line)


# The verdict


def _show(session: Session, verdict: IdleView) -> None:
    for line in _heading(verdict):
        session.say(line)
    print_table(session, _COLUMNS, _rows(verdict))


def _heading(verdict: IdleView) -> Iterator[str]:
    color = "green" if verdict["idle"] else "yellow"
    yield f"{click.style('●', fg=color)} {visible(verdict['sentence'])}"
    if verdict["resume_at"]:
        yield f"  suspended jobs resume in {until(verdict['resume_at'])}, at {clock_time(verdict['resume_at'])}"
    if verdict["start_at"]:
        yield f"  new jobs start in {until(verdict['start_at'])}, at {clock_time(verdict['start_at'])}"
    running = [_running(jobs) for jobs in verdict["running_jobs"] if jobs["jobs"]]
    yield f"  running jobs: {', '.join(running) or 'none'}"
    protection = verdict["protection"]
    proven = "proven" if protection["proven"] else "not proven"
    yield f"  idle priority protects web servers: {proven}: {visible(protection['why'])}"
    if protection["proven"]:
        beside = f"do not, {visible(protection['exposed'])}" if protection["exposed"] else "do"
        yield f"  jobs of flows with on_busy = auto go on while people are there: they {beside}"
    suspending = verdict["suspending"]
    why = f", since {visible(suspending['why'])}" if suspending["why"] else " of control groups"
    yield f"  jobs are suspended by {'signals' if suspending['why'] else 'the freezer'}{why}"


def _running(jobs: RunningJobsView) -> str:
    does = {"go on": "going on", "stop": "suspended"}[jobs["stance"]]
    if jobs["on_busy"] == "requeue" and jobs["stance"] == "stop":
        does = "being given back"
    return f"{jobs['jobs']:,} {does} (on_busy = {jobs['on_busy']})"


def _rows(verdict: IdleView) -> list[list[str]]:
    return [
        [
            signal["name"],
            signal["state"],
            f"{signal['value']} ({signal['timer']})" if signal["timer"] else signal["value"],
            signal["busy_at"],
            signal["clear_at"],
        ]
        for signal in verdict["signals"]
    ]


# Watching


def _verdicts(client: Client) -> Iterator[IdleView | None]:
    """One each second, for ever; None while a daemon that has answered before does not.

    Raises:
        ButtermilkError: there was no answer to the first question.
    """
    yield client.idle()
    while True:
        time.sleep(WATCH_EVERY)
        try:
            verdict = client.idle()
        except (NotRunningError, UnavailableError, TimedOutError):
            yield None
        else:
            yield verdict


def _watch_lines(session: Session, client: Client) -> None:
    """A line whenever the state or what decides it has changed, and when the daemon goes away."""
    last = ("", "")
    for verdict in _verdicts(client):
        now = (verdict["state"], verdict["cause"]) if verdict else (SILENT, SILENT)
        if now != last:
            sentence = visible(verdict["sentence"]) if verdict else SILENT
            session.say(f"{clock_time(None)} {sentence}")
            last = now


def _watch_live(session: Session, client: Client) -> None:
    """The whole view, drawn anew in its place; of a daemon that went away, what it said last, dimmed."""
    from rich.console import Console, Group  # noqa: PLC0415 - as in output.py
    from rich.live import Live  # noqa: PLC0415
    from rich.styled import Styled  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=sys.stdout, no_color=not session.colored(sys.stdout), highlight=False)
    table = table_of(_COLUMNS, [])
    with Live(console=console, auto_refresh=False) as live:
        for verdict in _verdicts(client):
            if verdict is None:
                live.update(Group(Text(SILENT, "yellow"), Styled(table, "dim")), refresh=True)
                continue
            table = table_of(_COLUMNS, _rows(verdict))
            live.update(Group(Text.from_ansi("\n".join(_heading(verdict))), table), refresh=True)
