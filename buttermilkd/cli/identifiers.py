"""Arguments that name batches, jobs and flows, completed from the running daemon."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from buttermilkd.cli.session import Session
from buttermilkd.client import Client
from buttermilkd.errors import ButtermilkError

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)

COMPLETION_TIMEOUT = 0.2
"""Seconds: a shell that waits for a name to complete must not hang."""


def complete_ids(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Ids of batches, and after a dot of jobs, that begin like this."""
    return _ask(context, lambda client: client.resolve(incomplete))


def complete_flows(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of flows that begin like this."""
    names = _ask(context, lambda client: [flow["name"] for flow in client.flows()["flows"]])
    return [name for name in names if name.startswith(incomplete)]


def complete_letters(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Ids of the newest dead letters that begin like this."""
    ids = _ask(context, lambda client: [letter["id"] for letter in client.dead()["dead"]])
    return [name for name in ids if name.startswith(incomplete)]


def _ask(context: click.Context, question: Callable[[Client], list[str]]) -> list[str]:
    """The answer, or nothing at all: a shell has nowhere to show an error."""
    session = context.find_object(Session) or Session()
    try:
        return question(session.client(COMPLETION_TIMEOUT))
    except (ButtermilkError, LookupError, TypeError):
        return []


def batch_argument(*, required: bool = True) -> Callable[[Decorated], Decorated]:
    return click.argument("batch", metavar="BATCH", required=required, shell_complete=complete_ids)


def items_argument() -> Callable[[Decorated], Decorated]:
    return click.argument("ids", metavar="BATCH|JOB...", nargs=-1, required=True, shell_complete=complete_ids)


def letters_argument() -> Callable[[Decorated], Decorated]:
    return click.argument(
        "ids", metavar="LETTER...", nargs=-1, required=True, shell_complete=complete_letters
    )


def flow_argument(*, required: bool = True) -> Callable[[Decorated], Decorated]:
    metavar = "FLOW" if required else "[FLOW]"
    return click.argument("flow", metavar=metavar, required=required, shell_complete=complete_flows)
