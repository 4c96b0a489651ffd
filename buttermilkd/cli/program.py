"""The program: its commands, and how each way that it can end becomes an exit code."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from buttermilkd import __version__
from buttermilkd.cli.session import Session, common_options
from buttermilkd.errors import ButtermilkError, Exit, InvalidRequestError

NAME = "buttermilkctl"
COMPLETE_VARIABLE = "_BUTTERMILKCTL_COMPLETE"


COMMANDS = {
    "create": "create",
    "list": "batches",
    "status": "status",
    "jobs": "jobs",
    "cancel": "batches",
    "retry": "batches",
    "results": "jobs",
    "logs": "jobs",
    "pause": "pauses",
    "resume": "pauses",
    "reload": "reload",
    "idle": "idle",
    "dead": "dead",
    "flows": "flows",
    "backup": "backups",
    "restore": "backups",
    "doctor": "doctor",
    "service": "service",
    "completion": "completion",
}
"""The commands, in the order of ``--help``, and the module that each is in."""


class Commands(click.Group):
    """Imports only the command that is called, and has a suggestion for one that is misspelt."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"buttermilkd.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, "list_batches" if cmd_name == "list" else cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

            close = get_close_matches(args[0], COMMANDS)
            suggestion = f'; did you mean "{close[0]}"?' if close else ""
            ctx.fail(f"there is no command {args[0]!r}{suggestion}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 daemon not running, 4 not permitted, 5 not found, "
    "6 --wait ended with failed jobs, 7 timed out, 78 bad configuration, 130 interrupted.",
)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
@common_options
def program() -> None:
    """Run batches of jobs while nobody uses this machine: create, watch and control them."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console entry point."""
    session = Session()

    def run() -> Any:
        return program.main(
            arguments,
            prog_name=NAME,
            complete_var=COMPLETE_VARIABLE,
            standalone_mode=False,
            obj=session,
        )

    sys.exit(exit_code(session, run))


def exit_code(session: Session, run: Callable[[], Any]) -> int:
    """Run a command, print its error if it ends with one, and give its exit code."""
    # A lone surrogate of a result becomes \udXXX, which inside JSON means the same.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return int(run() or Exit.OK)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else NAME
        why = error.format_message().rstrip(".")
        session.fail(InvalidRequestError(f"cannot read the command line: {why}", hint=f"{path} --help"))
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except ButtermilkError as error:
        session.fail(error)
        return error.exit_code
