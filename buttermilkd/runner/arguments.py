"""What a command is started with: arguments, environment and standard input, made from a job."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from buttermilkd.config import placeholders
from buttermilkd.jobs import Job


class UnusableArgumentError(Exception):
    """The command cannot be made from this job; the message says why."""


def fill(command: Sequence[str], job: Job) -> list[str]:
    """``command`` with ``{record_id}`` and ``{param:name}`` replaced, each argument staying one argument.

    A parameter that is not a string is given as JSON.

    Raises:
        UnusableArgumentError: the job has no such parameter, or a value holds a NUL.
    """
    try:
        arguments = [placeholders.fill(argument, job.record_id, job.parameters) for argument in command]
    except KeyError as error:
        name = error.args[0]
        raise UnusableArgumentError(
            f"the command uses parameter {name!r}, which this job does not have"
        ) from None
    for number, argument in enumerate(arguments):
        if "\0" in argument:
            raise UnusableArgumentError(
                f"argument {number} would hold a NUL character, which no argument can"
            )
    return arguments


def document(job: Job) -> dict[str, Any]:
    """The fields of a job that its flow sees."""
    return {
        "job_id": job.job_id,
        "batch_id": job.batch_id,
        "flow": job.flow,
        "record_id": job.record_id,
        "parameters": dict(job.parameters),
        "attempt": job.attempt,
    }


def environment(job: Job, flow_environment: Mapping[str, str], result: str) -> dict[str, str]:
    """The variables that a command sees besides the inherited ones; ``result`` is the path of its result file.

    Raises:
        UnusableArgumentError: the record id holds a NUL.
    """
    if "\0" in job.record_id:
        raise UnusableArgumentError("the record id holds a NUL character, which no variable can")
    return {
        **flow_environment,
        "BUTTERMILK_JOB_ID": job.job_id,
        "BUTTERMILK_BATCH_ID": job.batch_id,
        "BUTTERMILK_FLOW": job.flow,
        "BUTTERMILK_RECORD_ID": job.record_id,
        "BUTTERMILK_ATTEMPT": str(job.attempt),
        "BUTTERMILK_PARAMETERS": json.dumps(dict(job.parameters)),
        "BUTTERMILK_RESULT": result,
    }
