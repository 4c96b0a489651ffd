"""``flows``: what is configured, and whether it can run."""

import click

from buttermilkd.cli.output import Column, print_json, print_table
from buttermilkd.cli.session import Session, common_options
from buttermilkd.messages import FlowView

_COLUMNS = (
    Column("FLOW"),
    Column("CAN RUN"),
    Column("KIND"),
    Column("RUNS"),
    Column("PENDING", right=True),
    Column("RUNNING", right=True),
)


@click.command(short_help="List the flows, and whether they can run.")
@common_options
@click.pass_obj
def flows(session: Session) -> None:
    """List the flows that are configured, and whether each can run."""
    answer = session.client().flows()
    if session.json:
        print_json(answer)
    elif answer["flows"]:
        print_table(session, _COLUMNS, [_row(flow) for flow in answer["flows"]])
    else:
        session.note("no flows are configured; see [flows.NAME] in buttermilkd.toml")


def _row(flow: FlowView) -> list[str]:
    can_run = "yes" if flow["can_run"] else f"no: {flow['problem']}"
    return [
        flow["name"],
        "paused" if flow["paused"] and flow["can_run"] else can_run,
        flow["kind"],
        flow["runs"],
        f"{flow['pending']:,}",
        f"{flow['running']:,}",
    ]
