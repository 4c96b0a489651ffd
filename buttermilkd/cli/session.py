"""What every command gets: the options that all commands take, the client, and where to print."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from buttermilkd.client import Client
from buttermilkd.errors import ButtermilkError

Command = TypeVar("Command", bound=Callable[..., Any])

TIMEOUT = 30.0


@dataclass
class Session:
    """The common options of one invocation, given before the subcommand or after it."""

    config: Path | None = None
    socket: Path | None = None
    json: bool = False
    color: str = "auto"

    def client(self, timeout: float = TIMEOUT) -> Client:
        """A client of the daemon that the options name.

        Raises:
            MisconfiguredError: the configuration that says where its socket is cannot be read.
        """
        return Client(self.socket, config=self.config, timeout=timeout)

    def colored(self, stream: TextIO) -> bool:
        """Whether to write colours and other escapes to this stream."""
        if self.color != "auto":
            return self.color == "always"
        return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def animated(self, stream: TextIO) -> bool:
        """Whether lines on this stream may be redrawn."""
        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def say(self, text: str) -> None:
        """Print data, on standard output."""
        click.echo(text, color=self.colored(sys.stdout))

    def note(self, text: str) -> None:
        """Print a message for the person, on standard error."""
        click.echo(text, err=True, color=self.colored(sys.stderr))

    def advise(self, text: str) -> None:
        """Print what one may do next, unless a program is reading."""
        if not self.json:
            self.note(click.style(text, dim=True))

    def fail(self, error: ButtermilkError) -> None:
        """Print an error in two lines, after its problems; the second only where there is something to do about it."""
        for problem in error.details.get("problems", ()):
            self.note(str(problem))
        self.note(f"{click.style('error:', fg='red', bold=True)} {error}")
        if error.hint:
            self.note(click.style(f"hint: {error.hint}", dim=True))


def common_options(command: Command) -> Command:
    """Let a command take the options that all take; they end up in its ``Session``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    session = context.ensure_object(Session)
    if value is not None:
        setattr(session, str(parameter.name), value)


def _option(*names: str, **attributes: Any) -> Callable[[Command], Command]:
    return click.option(*names, expose_value=False, callback=_remember, default=None, **attributes)


_OPTIONS = (
    _option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file."),
    _option("--socket", type=click.Path(path_type=Path), metavar="PATH", help="The daemon's control socket."),
    _option("--json", is_flag=True, flag_value=True, help="Print one JSON document."),
    _option("--color", type=click.Choice(["auto", "always", "never"]), help="Colour the output."),
)
