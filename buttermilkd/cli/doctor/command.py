"""The command: everything is looked at in turn, from what all else stands on to what the daemon says of itself."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import chain

import click

from buttermilkd.cli.doctor import access, configuration, daemon, ledger, programs, repair, units
from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.cli.output import print_json
from buttermilkd.cli.places import state_dir_of
from buttermilkd.cli.session import Session, common_options
from buttermilkd.config.locate import configured_admin_groups, configured_queue
from buttermilkd.errors import ButtermilkError, Exit

TIMEOUT = 5.0


@click.command(short_help="Find what is wrong with this installation.")
@click.option("--repair", "mend", is_flag=True, help="First mend what can be mended without losing anything.")
@common_options
@click.pass_obj
def doctor(session: Session, mend: bool) -> Exit:
    """Check this installation, and say for each thing that is wrong how to mend it. Exit with 1 if anything is.

    With --repair, a damaged ledger is kept beside a new one that has all that can still be read in it, and it is said
    what was saved and what was not; modes and owners of the ledger's files are set right; sockets on which nobody
    listens any more are removed. No daemon may run on a ledger that is damaged.
    """
    findings = []
    for finding in chain(_repair(session) if mend else (), _examine(session)):
        findings.append(finding)
        if not session.json:
            _print(session, finding)
    healthy = all(finding.ok for finding in findings)
    if session.json:
        print_json({"ok": healthy, "checks": [asdict(finding) for finding in findings]})
    return Exit.OK if healthy else Exit.FAILURE


def _repair(session: Session) -> Iterator[Finding]:
    try:
        installation = Installation.of(session.client(TIMEOUT).socket, os.environ)
        yield from repair.mended(installation, state_dir_of(session.config, installation))
    except ButtermilkError as error:
        yield bad("repair", str(error), error.hint)


def _print(session: Session, finding: Finding) -> None:
    if session.animated(sys.stdout):
        mark = click.style("✓", fg="green") if finding.ok else click.style("✗", fg="red")
    else:
        mark = "ok     " if finding.ok else "problem"
    mend = f"; {finding.mend}" if finding.mend else ""
    session.say(f"{mark} {finding.subject}: {finding.detail}{mend}")


def _examine(session: Session) -> Iterator[Finding]:
    yield programs.python()
    yield programs.sqlite()
    try:
        client = session.client(TIMEOUT)
    except ButtermilkError:
        yield configuration.examine(session.config)
        return
    installation = Installation.of(client.socket, os.environ)
    config = installation.config(session.config, os.environ)
    checked = configuration.examine(config)
    yield checked
    yield from units.examine(installation)
    # Where the configuration cannot even be read, the finding on it says so already.
    with suppress(ButtermilkError):
        yield from access.examine(installation, configured_admin_groups(config, os.environ))
        yield ledger.examine(config, installation)
        yield from repair.examine(state_dir_of(session.config, installation))
        if checked.ok and configured_queue(config, os.environ) == "pubsub":
            yield from configuration.pubsub(config)
    if units.is_asleep(installation):
        yield good("daemon", "does not run, and was not asked, since that would start it")
        return
    try:
        yield from daemon.examine(client)
    except ButtermilkError as error:
        yield bad("daemon", str(error), error.hint)
