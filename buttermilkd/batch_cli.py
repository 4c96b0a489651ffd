"""The command line of the program that this one follows, for people who have it in scripts.

python -m buttermilkd.batch_cli -c FILE flow=NAME [run.batch.command=create|list|status|cancel]
    [run.batch.batch_id=ID] [run.batch.shuffle=true] [run.batch.max_records=N] [run.batch.wait=true]
"""

import json
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import click

from buttermilkd.cli.create import create_batch
from buttermilkd.cli.output import visible
from buttermilkd.cli.program import exit_code
from buttermilkd.cli.progress import done, percent
from buttermilkd.cli.session import Session, common_options
from buttermilkd.errors import Exit
from buttermilkd.messages import ERROR_POLICIES

PREFIX = "run.batch."
COMMANDS = ("create", "list", "status", "cancel")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


def _number(text: str) -> int | None:
    if text.lower() in ("null", "none"):
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError("write a whole number from 1, or null")
    return int(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"write {', '.join(allowed[:-1])} or {allowed[-1]}")
        return text

    return convert


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError('write a JSON object, such as {"model": ["small", "large"]}')  # noqa: TRY004 - bad text
    return value


def _not_interactive(text: str) -> bool:
    if _boolean(text):
        raise ValueError("jobs run while nobody is there, so none can ask anybody")
    return False


OVERRIDES: dict[str, Callable[[str], Any]] = {
    "flow": str,
    f"{PREFIX}command": _one_of(*COMMANDS),
    f"{PREFIX}batch_id": str,
    f"{PREFIX}shuffle": _boolean,
    f"{PREFIX}max_records": _number,
    f"{PREFIX}wait": _boolean,
    f"{PREFIX}concurrency": _number,
    f"{PREFIX}error_policy": _one_of(*ERROR_POLICIES),
    f"{PREFIX}parameters": _object,
    f"{PREFIX}interactive": _not_interactive,
}
"""What is understood on the command line, and how its value is read."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "config", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file.")
@click.argument("overrides", nargs=-1, metavar="KEY=VALUE...")
@common_options
@click.pass_obj
def batch(session: Session, config: Path | None, overrides: tuple[str, ...]) -> Exit:
    """Create, list, show or cancel batches by overrides such as flow=NAME run.batch.command=status."""
    session.config = config or session.config
    values = parse(overrides)
    command = values.pop("command", "create")
    if command == "create":
        return _create(session, values)
    if command == "list":
        _list(session)
        return Exit.OK
    batch_id = values.get("batch_id")
    if not batch_id:
        raise click.UsageError(f"{PREFIX}command={command} needs {PREFIX}batch_id=ID")
    if command == "cancel":
        receipt = session.client().cancel(batch_id)
        session.say(f"Cancelled batch {receipt['id']}: {receipt['summary']}")
    else:
        _status(session, batch_id)
    return Exit.OK


def parse(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The values given, by the last part of their key."""
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise click.UsageError(f"{override!r} is no override; write KEY=VALUE")
        if key not in OVERRIDES:
            close = get_close_matches(key, OVERRIDES, 1)
            suggestion = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(OVERRIDES)}"
            raise click.UsageError(f"there is no override {key!r}; {suggestion}")
        try:
            values[key.removeprefix(PREFIX)] = OVERRIDES[key](text)
        except ValueError as error:
            raise click.UsageError(f"{key} cannot be {text!r}: {error}") from None
    return values


def _create(session: Session, values: dict[str, Any]) -> Exit:
    if not values.get("flow"):
        raise click.UsageError("which flow? write flow=NAME")
    return create_batch(
        session,
        values["flow"],
        records=None,
        parameters=values.get("parameters", {}),
        wait=values.get("wait", False),
        shuffle=values.get("shuffle", True),
        limit=values.get("max_records"),
        batch_id=values.get("batch_id"),
        concurrency=values.get("concurrency"),
        error_policy=values.get("error_policy", "continue"),
    )


def _list(session: Session) -> None:
    batches = session.client().batches(include_ended=True)["batches"]
    if not batches:
        session.say("No batches")
    for view in batches:
        session.say(f"- {view['batch_id']}: {view['flow']} - {percent(view)}% - {view['status']}")


def _status(session: Session, batch_id: str) -> None:
    view = session.client().batch(batch_id)
    lines = {
        "Batch ID": view["batch_id"],
        "Flow": view["flow"],
        "Status": view["status"],
        "Created": view["created_at"],
        "Started": view["started_at"],
        "Completed": view["ended_at"],
        "Progress": f"{percent(view)}% ({done(view)}/{view['total']})",
        "Completed jobs": view["completed"],
        "Failed jobs": view["failed"],
        "Waiting for": view["waiting_for"],
    }
    for name, value in lines.items():
        if value is not None:
            session.say(f"{name}: {visible(str(value))}")


def main() -> NoReturn:
    """Run as ``python -m buttermilkd.batch_cli``."""
    session = Session()
    sys.exit(exit_code(session, lambda: batch.main(standalone_mode=False, obj=session)))


if __name__ == "__main__":
    main()
