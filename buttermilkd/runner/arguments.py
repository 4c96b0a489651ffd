"""What a command is started with: arguments, environment and standard input, made from a job."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from buttermilkd.config import placeholders
from buttermilkd.jobs import Job

LARGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1
"""Bytes that Linux takes in one argument, or in one variable with its name (MAX_ARG_STRLEN, without the NUL)."""
PARAMETERS = "BUTTERMILK_PARAMETERS"
USE_A_FILE = "read the parameters from standard input, or give the name of a file instead"


class UnusableArgumentError(Exception):
    """The command cannot be made from this job; the message says why."""


class TooLargeError(UnusableArgumentError):
    """No attempt could ever begin: something is larger than the kernel takes."""


def fill(command: Sequence[str], job: Job) -> list[str]:
    """``command`` with ``{record_id}`` and ``{param:name}`` replaced, each argument staying one argument.

    A parameter that is not a string is given as JSON.

    Raises:
        UnusableArgumentError: the job has no such parameter, or a value holds a NUL or is too large.
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
        if (octets := len(argument.encode("utf-8", "surrogatepass"))) > LARGEST:
            raise TooLargeError(
                f"argument {number} is too large: {octets:,} bytes, and the kernel takes {LARGEST:,}; {USE_A_FILE}"
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

    Parameters too large for a variable are left out: they are on standard input, too. See ``left_out``.

    Raises:
        UnusableArgumentError: the record id holds a NUL.
    """
    if "\0" in job.record_id:
        raise UnusableArgumentError("the record id holds a NUL character, which no variable can")
    parameters = json.dumps(dict(job.parameters))
    return {
        **flow_environment,
        **({PARAMETERS: parameters} if _fits(parameters) else {}),
        "BUTTERMILK_JOB_ID": job.job_id,
        "BUTTERMILK_BATCH_ID": job.batch_id,
        "BUTTERMILK_FLOW": job.flow,
        "BUTTERMILK_RECORD_ID": job.record_id,
        "BUTTERMILK_ATTEMPT": str(job.attempt),
        "BUTTERMILK_RESULT": result,
    }


def left_out(job: Job) -> str:
    """That the parameters are in no variable, and why, in one line for the job's log."""
    octets = len(json.dumps(dict(job.parameters)))
    return f"{PARAMETERS} is not set: {octets:,} bytes, and the kernel takes {LARGEST:,}; {USE_A_FILE}"


def _fits(parameters: str) -> bool:
    """Whether they can be in a variable; JSON is ASCII here."""
    return len(PARAMETERS) + 1 + len(parameters) <= LARGEST
