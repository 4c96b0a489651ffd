"""The settings of one flow."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from buttermilkd.config import placeholders
from buttermilkd.config.values import (
    ArgumentList,
    Duration,
    FilePath,
    Flag,
    PositiveDuration,
    Size,
    Text,
    choice,
    duration,
    json_value,
    path,
    refusal,
    size,
    table,
    text,
    texts,
    whole,
    without_nul,
)

_ENTRYPOINT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_VARIABLE = re.compile(r"[^=\0]+")
RESERVED_VARIABLES = frozenset(
    f"BUTTERMILK_{name}"
    for name in ("JOB_ID", "BATCH_ID", "FLOW", "RECORD_ID", "ATTEMPT", "PARAMETERS", "RESULT")
)
"""Environment variables that every job gets from the daemon."""


def _entrypoint(value: object) -> str:
    if not isinstance(value, str) or not _ENTRYPOINT.fullmatch(value):
        raise refusal('"module:attribute" such as "study.flows:classify"', value)
    return value


def _records(value: object) -> str | list[str]:
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refusal('a pattern such as "records/*.txt", a file, or a list of record ids', value)
    if not value:
        raise ValueError("must not be an empty list: a batch of nothing is never made")
    return texts(value)


def _variables(value: object) -> dict[str, Any]:
    variables = table(value)
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"cannot set a variable named {name!r}")
        if name in RESERVED_VARIABLES:
            raise ValueError(f"cannot set {name}: every job gets it from buttermilkd")
    return variables


def _env(value: object) -> dict[str, str]:
    # What is wrong is not shown: it may be a secret, and everybody may read why a reload was refused.
    if not isinstance(value, dict):
        raise ValueError("must be a table")  # noqa: TRY004 - as every wrong value
    variables = _variables(value)
    for name, content in variables.items():
        if not isinstance(content, str):
            raise ValueError(f"must be text in quotes for {name}")  # noqa: TRY004
        without_nul(content)
    return variables


def _env_files(value: object) -> dict[str, Path]:
    return {name: path(file) for name, file in _variables(value).items()}


def _parameters(value: object) -> dict[str, Any]:
    parameters: dict[str, Any] = json_value(table(value))
    for name, choices in parameters.items():
        if choices == []:
            raise ValueError(f"must not give {name!r} an empty list: a batch of nothing is never made")
    return parameters


class FlowSettings(BaseModel):
    """One flow: exactly one of ``command`` and ``entrypoint``, and how its jobs are run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    entrypoint: Annotated[str, PlainValidator(_entrypoint)] | None = None
    """``module:attribute`` of the callable."""
    command: ArgumentList | None = Field(default=None, validate_default=True)
    """Program and arguments, with placeholders; never run through a shell."""
    python: Text = sys.executable
    """The interpreter that a callable runs in."""
    workers: Annotated[int, whole(1, 1024, 2)] = 1
    """Processes that hold a callable ready."""
    directory: FilePath = Field(default_factory=Path.cwd)
    """The working directory of its jobs, absolute."""
    records: Annotated[str | list[str], PlainValidator(_records)] | None = None
    """A glob, a file, or the record ids themselves. Relative to ``directory``, where its jobs run."""
    records_command: ArgumentList | None = None
    """Prints the records; run in ``directory``."""
    records_field: Text | None = None
    """The column or member that holds the id in CSV or JSON lines. None: as the format's reader chooses."""
    timeout: PositiveDuration = duration("30m")
    """Seconds of running time for one attempt."""
    max_retries: Annotated[int, whole(0, 1000, 3)] = 3
    max_deferrals: Annotated[int, whole(0, 1_000_000, 100)] = 100
    max_backoff: Duration = duration("10m")
    """Seconds before a retry at most."""
    backoff: Duration = duration("10s")
    """Seconds before the first retry; it doubles with each."""
    concurrency: Annotated[int, whole(1, 1024, 2)] | None = None
    """Of a command, jobs at once (None: as many as the daemon); of a callable, calls at once in one worker."""
    shuffle: Flag = False
    on_busy: Annotated[
        Literal["auto", "finish", "suspend", "requeue"], choice("auto", "finish", "suspend", "requeue")
    ] = "auto"
    """What happens to its running jobs when a user arrives."""
    restartable: Flag = False
    """Its jobs may be ended and begun again: one suspended for longer than ``suspend_max`` makes room."""
    suspend_max: Duration | None = None
    """Seconds, over the one of the idleness decision."""
    grace: Duration = duration("10s")
    """Seconds between SIGTERM and SIGKILL."""
    parameters: Annotated[dict[str, Any], PlainValidator(_parameters)] = {}
    """For every job; lists expand to variants."""
    env: Annotated[dict[str, str], PlainValidator(_env)] = {}
    env_files: Annotated[dict[str, Path], PlainValidator(_env_files)] = {}
    """Variables whose values are read from files, so that a secret is named only by its file."""
    output_limit: Size = size("256KiB")
    """Bytes of what an attempt prints that are kept."""
    result_limit: Size = size("1MiB")
    """Bytes of JSON that a result may have."""

    @field_validator("command")
    @classmethod
    def _one_way_to_run(cls, command: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if command is None:
            if info.data.get("entrypoint", "wrong in itself") is None:
                raise ValueError(
                    'is missing: a flow needs command = ["program", "{record_id}"] '
                    'or entrypoint = "module:attribute"'
                )
            return None
        if info.data.get("entrypoint"):
            raise ValueError("cannot stand beside entrypoint: a flow has one of them")
        for argument in command:
            placeholders.check(argument)
        return command

    @field_validator("python", "workers")
    @classmethod
    def _only_for_callables(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("command"):
            raise ValueError("is only for a flow with an entrypoint: a command is its own program")
        return value

    @field_validator("records_command")
    @classmethod
    def _one_source(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if value and info.data.get("records"):
            raise ValueError("cannot stand beside records: a flow has one source")
        return value

    @field_validator("backoff")
    @classmethod
    def _not_over_its_bound(cls, value: float, info: ValidationInfo) -> float:
        bound = info.data.get("max_backoff")
        if bound is not None and value > bound:
            raise ValueError(f"must not be longer than max_backoff ({bound:g} s)")
        return value

    @field_validator("env_files")
    @classmethod
    def _set_once(cls, value: Mapping[str, Path], info: ValidationInfo) -> Mapping[str, Path]:
        both = sorted(value.keys() & info.data.get("env", {}).keys())
        if both:
            raise ValueError(f"sets {both[0]}, which env sets as well: keep one")
        return value

    @property
    def kind(self) -> Literal["command", "callable"]:
        return "command" if self.command else "callable"

    @property
    def runs(self) -> str:
        """What it runs, in words for people."""
        if self.command:
            return f"command {shlex.join(self.command)}"
        return f"callable {self.entrypoint} in {self.python}"

    def limit(self, daemon_concurrency: int) -> int:
        """How many of its jobs may run at once on a host that runs this many in all."""
        if self.command:
            own = self.concurrency or daemon_concurrency
        else:
            own = self.workers * (self.concurrency or 1)
        return min(own, daemon_concurrency)

    @cached_property
    def version(self) -> str:
        """12 hexadecimal digits of a SHA-256 over what decides its results."""
        decisive = {"command", "entrypoint", "python", "directory", "env", "parameters"}
        document = self.model_dump(mode="json", include=decisive)
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]
