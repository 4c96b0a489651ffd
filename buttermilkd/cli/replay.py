"""``idle --replay``: what other settings would have made of a recorded trace. Imported only by that option."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from buttermilkd.cli.output import blocks, print_json
from buttermilkd.cli.session import Session
from buttermilkd.cli.timeline import has_rates, timeline
from buttermilkd.messages import HistoryView
from buttermilkd.replay import replay

COULD_RUN = "jobs could run"
"""What harvested time is in a replay: nothing runs in it."""


def show_replay(session: Session, file: Path, changes: Sequence[str]) -> None:
    """Decide again on everything in the file, with the settings it was recorded with and with others.

    Raises:
        InvalidRequestError: the file or a setting cannot be used.
    """
    view = replay(file, dict(_pair(change) for change in changes))
    if session.json:
        print_json(view)
        return
    recorded, changed = view["as_recorded"], view["as_changed"]
    drawn = blocks(sys.stdout)
    session.say(click.style("as recorded", bold=True))
    for line in timeline(recorded, blocks=drawn, harvested=COULD_RUN):
        session.say(line)
    if changed is not None:
        session.say("")
        session.say(click.style("with " + ", ".join(changes), bold=True))
        for line in timeline(changed, blocks=drawn, harvested=COULD_RUN):
            session.say(line)
        session.say("")
        session.say(
            f"harvested {_percent(recorded['harvested_share'])} → {_percent(changed['harvested_share'])}; "
            f"{_suspensions(recorded, changed)}"
        )


def _suspensions(recorded: HistoryView, changed: HistoryView) -> str:
    if has_rates(recorded) and has_rates(changed):
        before, after = recorded["suspensions_per_hour"], changed["suspensions_per_hour"]
        return f"suspensions an hour {before:.2f} → {after:.2f}"
    return f"suspensions {recorded['suspensions']:,} → {changed['suspensions']:,}"


def _pair(change: str) -> tuple[str, str]:
    name, equals, value = change.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--set takes idle.KEY=VALUE, not {change!r}")
    return name, value


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
