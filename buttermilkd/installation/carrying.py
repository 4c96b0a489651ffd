"""Steps carried out in their order, each told before it is begun."""

from collections.abc import Callable, Iterable

from buttermilkd.installation.steps import Step


def carry_out(steps: Iterable[Step], say: Callable[[str], None], *, dry_run: bool) -> None:
    """Do what has to be done; with ``dry_run`` only tell.

    Raises:
        ButtermilkError: a step failed. Those before it are done; to begin again does no harm.
    """
    for step in steps:
        say(f"{step.verb:<6} {step.subject}")
        if not dry_run:
            step.do()
