"""``pause``, ``resume`` and ``idle``: whether jobs may run."""

import sys
import time

import click

from buttermilkd.cli.identifiers import flow_argument
from buttermilkd.cli.output import Column, print_json, print_table, visible
from buttermilkd.cli.session import Session, common_options
from buttermilkd.messages import IdleView

WATCH_EVERY = 1.0

_COLUMNS = (
    Column("SIGNAL"),
    Column("STATE"),
    Column("NOW"),
    Column("BUSY AT"),
    Column("CLEAR AT"),
)


@click.command(short_help="Start no more jobs.")
@flow_argument(required=False)
@common_options
@click.pass_obj
def pause(session: Session, flow: str | None) -> None:
    """Start no more jobs, of FLOW or of any, until resume; what runs goes on."""
    answer = session.client().pause(flow)
    if session.json:
        print_json(answer)
    else:
        session.say(f"paused {flow or 'every flow'}")
        session.advise(f"to go on: buttermilkctl resume{f' {flow}' if flow else ''}")


@click.command(short_help="Undo pause.")
@flow_argument(required=False)
@common_options
@click.pass_obj
def resume(session: Session, flow: str | None) -> None:
    """Undo pause, of FLOW or of all; jobs start again once the machine is idle."""
    answer = session.client().resume(flow)
    if session.json:
        print_json(answer)
    else:
        session.say(f"resumed {flow or 'every flow'}")


@click.command(short_help="Show whether the machine is idle, and why.")
@click.option("--watch", is_flag=True, help="Show it again whenever it changes.")
@common_options
@click.pass_obj
def idle(session: Session, *, watch: bool) -> None:
    """Show the verdict, and each signal with what it is now and its thresholds."""
    if watch and session.json:
        raise click.UsageError("--watch never ends, so it cannot print one JSON document")
    client = session.client()
    verdict = client.idle()
    if session.json:
        print_json(verdict)
        return
    while True:
        _print_idle(session, verdict)
        if not watch:
            return
        last = verdict
        while (verdict := client.idle())["sentence"] == last["sentence"]:
            time.sleep(WATCH_EVERY)


def _print_idle(session: Session, verdict: IdleView) -> None:
    if session.animated(sys.stdout):
        session.say("")
    color = "green" if verdict["idle"] else "yellow"
    session.say(f"{click.style('●', fg=color)} {visible(verdict['sentence'])}")
    rows = [
        [signal["name"], signal["state"], signal["value"], signal["busy_at"], signal["clear_at"]]
        for signal in verdict["signals"]
    ]
    print_table(session, _COLUMNS, rows)
