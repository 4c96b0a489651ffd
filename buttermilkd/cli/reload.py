"""``reload``: have the daemon read its configuration again."""

import click

from buttermilkd.cli.output import print_json, visible
from buttermilkd.cli.session import Session, common_options
from buttermilkd.errors import MisconfiguredError


@click.command(short_help="Apply the daemon's configuration as it is now.")
@common_options
@click.pass_obj
def reload(session: Session) -> None:
    """Have the daemon read its configuration again; return once it is in force, with what has changed.

    A configuration that is bad changes nothing: each problem is printed, and the exit code is 78.
    """
    try:
        told = session.client().reload()
    except MisconfiguredError as error:
        for line in error.problems:
            session.note(visible(line))
        raise MisconfiguredError(
            "cannot reload: the configuration is bad, and the one before stays in force",
            hint="mend it, check it with `buttermilkd --check-config`, and reload again",
        ) from error
    if session.json:
        print_json(told)
        return
    for line in told["summary"] or ["nothing has changed"]:
        session.say(visible(line))
    for change in told["needs_restart"]:
        key, before, after = (visible(change[part]) for part in ("key", "before", "after"))
        session.note(f"needs a restart: {key}: {before} → {after}")
    if told["needs_restart"]:
        session.advise("to have these too: systemctl restart buttermilkd")
