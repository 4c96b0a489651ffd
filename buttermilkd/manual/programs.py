"""A click command as parts of a man page: the same texts as those of ``--help``, not wrapped to a terminal."""

from collections.abc import Iterator

import click

from buttermilkd.manual import roff

_UNWRAPPED = "\b"
"""The line by which click is told to leave a paragraph's lines as they are."""


def synopsis(context: click.Context) -> list[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return [
        *roff.heading("Synopsis"),
        ".PP",
        f"\\fB{roff.escaped(context.command_path)}\\fR {roff.escaped(pieces)}",
    ]


def description(command: click.Command) -> list[str]:
    """The whole help text."""
    lines: list[str] = []
    for block in (command.help or "").split("\n\n"):
        own = block.strip("\n").splitlines()
        if own and own[0].strip() == _UNWRAPPED:
            lines += roff.verbatim(line.strip() for line in own[1:])
        elif own:
            lines += roff.paragraph(" ".join(own))
    return lines


def options(context: click.Context, without: frozenset[str] = frozenset()) -> list[str]:
    """Each option but those named ``without``, with its help."""
    records = [
        (record, parameter)
        for parameter in context.command.get_params(context)
        if isinstance(parameter, click.Option)
        and not without.intersection(parameter.opts)
        and (record := parameter.get_help_record(context))
    ]
    return [line for (names, text), _ in records for line in roff.entry(names, text)]


def commands(context: click.Context, common: frozenset[str]) -> Iterator[str]:
    """A section for each command, and for the commands of each group in it."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        pieces = " ".join(command.collect_usage_pieces(inner))
        path = inner.command_path.partition(" ")[2]
        yield from roff.subheading(f"{path} {pieces}")
        yield from description(command)
        yield from options(inner, common)
        yield from commands(inner, common)


def names_of(context: click.Context) -> frozenset[str]:
    """The names of its own options."""
    return frozenset(name for parameter in context.command.get_params(context) for name in parameter.opts)
