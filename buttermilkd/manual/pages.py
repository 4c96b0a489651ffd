"""The three pages."""

from collections.abc import Callable

import click

from buttermilkd import __version__
from buttermilkd.__main__ import main as daemon
from buttermilkd.cli.program import program
from buttermilkd.config.reference import reference
from buttermilkd.manual import configuration, programs, roff
from buttermilkd.places import SYSTEM

_FILES = {
    str(SYSTEM.config): "The configuration; see `buttermilkd.toml`(5).",
    f"{SYSTEM.state}/": "The ledger: all batches and jobs.",
    f"{SYSTEM.runtime}/control.sock": "Where `buttermilkctl` asks.",
    f"{SYSTEM.runtime}/activity.sock": "Where web servers report what their users do.",
}
_ENVIRONMENT = {
    "BUTTERMILKD_CONFIG": "The configuration file, where `--config` is not given.",
    "BUTTERMILKD_TABLE__KEY": "A key of the configuration, over what files say; as BUTTERMILKD_DAEMON__CONCURRENCY=4.",
}
_CALLERS_ENVIRONMENT = _ENVIRONMENT | {
    "BUTTERMILKD_CONTROL_SOCKET": "The daemon's control socket, where `--socket` is not given.",
    "NO_COLOR": "If it is set, nothing is coloured.",
}
_SIGNALS = {
    "SIGTERM, SIGINT": "Stop: nothing new begins, running jobs have daemon.drain_timeout to end, and are given back "
    "then. A second one gives them back at once.",
    "SIGHUP": "Read the configuration again, as buttermilkctl reload does: what is wrong is in the log, and nothing "
    "changes then.",
}
_DAEMONS_EXITS = {
    "0": "It was asked to stop, and has.",
    "1": "A failure; the last line of its log says which.",
    "2": "The command line cannot be read.",
    "78": "The configuration or the ledger cannot be used: to start it again would end in the same way.",
}


def buttermilkctl() -> str:
    """Section 1: a command for each thing that one may ask of the daemon."""
    context = click.Context(program, info_name="buttermilkctl", **program.context_settings)
    common = programs.names_of(context)
    lines = roff.title("buttermilkctl", 1, __version__, "create, watch and control batches of jobs")
    lines += programs.synopsis(context)
    lines += [*roff.heading("Description"), *programs.description(program)]
    lines += [*roff.heading("Options"), *roff.paragraph("All commands take these.")]
    lines += programs.options(context)
    lines += [*roff.heading("Commands"), *programs.commands(context, common)]
    lines += [*roff.heading("Exit status"), *roff.paragraph(program.epilog or "")]
    lines += _listed("Environment", _CALLERS_ENVIRONMENT) + _listed("Files", _FILES)
    return _page(lines, "buttermilkd(8)", "buttermilkd.toml(5)", "journalctl(1)")


def buttermilkd() -> str:
    """Section 8: the daemon."""
    context = click.Context(daemon, info_name="buttermilkd", **daemon.context_settings)
    lines = roff.title("buttermilkd", 8, __version__, "run batches of jobs while nobody uses this machine")
    lines += programs.synopsis(context)
    lines += [*roff.heading("Description"), *programs.description(daemon)]
    lines += [*roff.heading("Options"), *programs.options(context)]
    lines += _listed("Signals", _SIGNALS) + _listed("Exit status", _DAEMONS_EXITS)
    lines += _listed("Environment", _ENVIRONMENT) + _listed("Files", _FILES)
    return _page(lines, "buttermilkctl(1)", "buttermilkd.toml(5)", "systemctl(1)", "journalctl(1)")


def buttermilkd_toml() -> str:
    """Section 5: every key of the configuration."""
    main, pubsub = (
        configuration.tables(reference(name).read_text(encoding="utf-8"))
        for name in ("buttermilkd.toml", "pubsub.toml")
    )
    explained = {table.name: table for table in pubsub}
    # Where jobs come from Pub/Sub is explained in the file for that.
    chosen = [explained["pubsub"] if table.name == "pubsub" else table for table in main]
    lines = roff.title("buttermilkd.toml", 5, __version__, "configuration of buttermilkd")
    lines += [*roff.heading("Description"), *_about()]
    lines += [*roff.heading("Keys"), *roff.paragraph("Each is shown with its default, or with an example.")]
    lines += configuration.sections(chosen)
    lines += _listed(
        "Files", {**_FILES, f"{SYSTEM.config.parent}/conf.d/*.toml": "More of the configuration."}
    )
    return _page(lines, "buttermilkd(8)", "buttermilkctl(1)")


PAGES: dict[str, Callable[[], str]] = {
    "buttermilkctl.1": buttermilkctl,
    "buttermilkd.toml.5": buttermilkd_toml,
    "buttermilkd.8": buttermilkd,
}


def _about() -> list[str]:
    """The first paragraphs of the file."""
    head = reference().read_text(encoding="utf-8").partition("\n\n")[0]
    paragraphs = "\n".join(line.removeprefix("#").removeprefix(" ") for line in head.splitlines()).split(
        "\n\n"
    )
    return [line for text in paragraphs for line in roff.paragraph(text)]


def _listed(title: str, entries: dict[str, str]) -> list[str]:
    return [
        *roff.heading(title),
        *(line for term, text in entries.items() for line in roff.entry(term, text)),
    ]


def _page(lines: list[str], *others: str) -> str:
    references = ", ".join(f"\\fB{roff.escaped(page[:-3])}\\fR{page[-3:]}" for page in others)
    return "\n".join([*lines, *roff.heading("See also"), ".PP", references, ""])
