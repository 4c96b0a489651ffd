"""A batch on its way to its end: a live bar on a terminal, else plain lines now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from buttermilkd.cli.output import STATUSES, visible
from buttermilkd.cli.session import Session
from buttermilkd.cli.times import Deadline, span
from buttermilkd.client import Client
from buttermilkd.errors import NotRunningError, UnavailableError
from buttermilkd.messages import BatchView

Show = Callable[[BatchView], None]

REFRESH = 1.0
"""Seconds between two states of the live bar."""
REPORT_EVERY = 10.0
"""Seconds between two plain lines."""
RECONNECTS = 20
"""How often to look for a daemon that went away, once a second: long enough for a restart."""


def has_ended(view: BatchView) -> bool:
    return view["ended_at"] is not None


def done(view: BatchView) -> int:
    """How many of a batch's jobs have ended."""
    return view["completed"] + view["failed"] + view["cancelled"]


def percent(view: BatchView) -> int:
    return 100 * done(view) // view["total"] if view["total"] else 100


def counts(view: BatchView) -> str:
    """The numbers that are not zero, in words."""
    numbers = [(status, int(view[status])) for status in STATUSES]  # type: ignore[literal-required]
    return ", ".join(f"{number:,} {name}" for name, number in numbers if number)


def outlook(view: BatchView) -> str:
    """What it waits for, or else how long it will take; empty where neither is known."""
    if has_ended(view):
        return ""
    if view["waiting_for"]:
        return f"waiting: {visible(view['waiting_for'])}"
    return f"about {span(view['eta_seconds'])} left" if view["eta_seconds"] is not None else ""


def follow(session: Session, client: Client, batch_id: str, *, timeout: float | None = None) -> BatchView:
    """Show a batch's progress on standard error until it has ended or ``timeout`` seconds are over.

    A daemon that restarts meanwhile is waited for.

    Returns:
        The batch as it was last seen.
    """
    live = session.animated(sys.stderr) and not session.json
    deadline = Deadline(timeout)
    view = client.batch(batch_id)
    with _bar(session, view) if live else nullcontext(_Lines(session)) as show:
        while True:
            show(view)
            left = deadline.left(REFRESH if live else REPORT_EVERY)
            if has_ended(view) or not left:
                return view
            view = _next(client, view["batch_id"], left)


def _next(client: Client, batch_id: str, wait: float) -> BatchView:
    for _ in range(RECONNECTS):
        try:
            return client.batch(batch_id, wait=wait)
        except (NotRunningError, UnavailableError):
            time.sleep(1)
    return client.batch(batch_id, wait=wait)


class _Lines:
    """One line for each state that differs from the last one shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last = ""

    def __call__(self, view: BatchView) -> None:
        words = [f"{done(view):,} of {view['total']:,} ({percent(view)} %)", counts(view), outlook(view)]
        line = f"{view['batch_id']}: {'; '.join(word for word in words if word)}"
        if line != self._last and not self._session.json:
            self._session.note(line)
        self._last = line


@contextmanager
def _bar(session: Session, first: BatchView) -> Iterator[Show]:
    """A live bar, drawn by rich, which only a terminal needs."""
    from rich.console import Console  # noqa: PLC0415 - as in output.py
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    progress = Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[counts]}  {task.fields[rate]}", markup=False),
        TextColumn("{task.fields[outlook]}", style="dim", markup=False),
        refresh_per_second=4,
        console=Console(file=sys.stderr, no_color=not session.colored(sys.stderr)),
    )
    task = progress.add_task(first["batch_id"], total=first["total"], counts="", rate="", outlook="")

    def show(view: BatchView) -> None:
        speed = progress.tasks[0].speed
        progress.update(
            task,
            completed=done(view),
            counts=counts(view),
            rate=f"{speed:,.1f}/s" if speed else "",
            outlook=outlook(view),
            refresh=True,
        )

    with progress:
        yield show
