"""``pause`` and ``resume``: the operator's word on whether jobs start."""

import click

from buttermilkd.cli.identifiers import flow_argument
from buttermilkd.cli.output import print_json
from buttermilkd.cli.session import Session, common_options


@click.command(short_help="Start no more jobs.")
@flow_argument(required=False)
@common_options
@click.pass_obj
def pause(session: Session, flow: str | None) -> None:
    """Start no more jobs, of FLOW or of any, until resume; what runs goes on."""
    answer = session.client().pause(flow)
    if session.json:
        print_json(answer)
    else:
        session.say(f"paused {flow or 'every flow'}")
        session.advise(f"to go on: buttermilkctl resume{f' {flow}' if flow else ''}")


@click.command(short_help="Undo pause.")
@flow_argument(required=False)
@common_options
@click.pass_obj
def resume(session: Session, flow: str | None) -> None:
    """Undo pause, of FLOW or of all; jobs start again once the machine is idle."""
    answer = session.client().resume(flow)
    if session.json:
        print_json(answer)
    else:
        session.say(f"resumed {flow or 'every flow'}")
