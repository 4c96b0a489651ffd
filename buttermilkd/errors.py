"""Every error that leaves a room. A class exists only where a caller acts differently.

``kind`` is stable: it travels in problem documents and names the error for other programs.
"""

from enum import IntEnum
from typing import Any, ClassVar


class Exit(IntEnum):
    """Exit codes of ``buttermilkctl`` and ``buttermilkd``."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_PERMITTED = 4
    NOT_FOUND = 5
    FAILED_JOBS = 6
    TIMED_OUT = 7
    BAD_CONFIG = 78
    INTERRUPTED = 130


class ButtermilkError(Exception):
    """The root. ``str(error)`` says what could not be done and why; ``hint`` says how to mend it."""

    kind: ClassVar[str] = "failure"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[Exit] = Exit.FAILURE

    def __init__(self, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.hint = hint
        self.details = details
        """More members of the problem document, for programs."""

    def problem(self) -> dict[str, Any]:
        """The error as RFC 9457 has it, with ``kind`` and ``hint``."""
        return {
            "type": f"urn:buttermilkd:{self.kind}",
            "title": self.kind.replace("-", " "),
            "status": self.http_status,
            "detail": str(self),
            "kind": self.kind,
            "hint": self.hint,
            **self.details,
        }


class InvalidRequestError(ButtermilkError):
    """What was asked for makes no sense as it stands."""

    kind = "invalid"
    http_status = 400
    exit_code = Exit.USAGE


class NotPermittedError(ButtermilkError):
    """The caller's credentials do not allow this."""

    kind = "not-permitted"
    http_status = 403
    exit_code = Exit.NOT_PERMITTED


class NotFoundError(ButtermilkError):
    """No such batch, job, flow or route."""

    kind = "not-found"
    http_status = 404
    exit_code = Exit.NOT_FOUND


class ConflictError(ButtermilkError):
    """It exists already, or its state does not allow this; for example a transition that is refused."""

    kind = "conflict"
    http_status = 409


class StorageError(ButtermilkError):
    """The ledger cannot be read or written: disk full, read-only, damaged, from a newer version."""

    kind = "storage"
    http_status = 507


class DamagedError(StorageError):
    """The ledger can be read, and what is there is not what was written."""


class UnavailableError(ButtermilkError):
    """Not now: the daemon is stopping, or a service behind it does not answer."""

    kind = "unavailable"
    http_status = 503


class MisconfiguredError(ButtermilkError):
    """The configuration, or something that it names, is wrong. ``problems`` holds a line for each."""

    kind = "misconfigured"
    http_status = 422
    exit_code = Exit.BAD_CONFIG

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint, problems=list(problems))
        self.problems = problems


class NotRunningError(ButtermilkError):
    """No daemon answers on the control socket. Raised by clients only."""

    kind = "not-running"
    http_status = 503
    exit_code = Exit.NOT_RUNNING


class TimedOutError(ButtermilkError):
    """Waited for as long as was asked."""

    kind = "timed-out"
    http_status = 504
    exit_code = Exit.TIMED_OUT


class UnreadableError(ButtermilkError):
    """A message on a topic cannot be read, now or ever; ``str(error)`` is one sentence that says why."""

    kind = "unreadable"
    http_status = 422


class NotAJobError(ButtermilkError):
    """A message on the jobs topic that can be read and asks for no job: nothing is to be done about it."""

    kind = "not-a-job"
    http_status = 422


class NotAnUpdateError(UnreadableError):
    """A message on the status topic that is of another type, as where one topic serves for both."""

    kind = "not-an-update"


BY_KIND: dict[str, type[ButtermilkError]] = {
    error.kind: error
    for error in (
        ButtermilkError,
        InvalidRequestError,
        NotPermittedError,
        NotFoundError,
        ConflictError,
        StorageError,
        UnavailableError,
        NotRunningError,
        TimedOutError,
    )
}
"""What a client raises for a problem document's ``kind``."""
