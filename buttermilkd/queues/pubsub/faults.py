"""What Google's packages raise, as errors of ours: one plain sentence each, and what to do about it."""

import os
import re
from pathlib import Path

from google.api_core import exceptions as google
from google.auth.exceptions import TransportError

from buttermilkd.errors import (
    ButtermilkError,
    ConflictError,
    InvalidRequestError,
    MisconfiguredError,
    UnavailableError,
)
from buttermilkd.queues.pubsub.api import GoneError, LackingPermissionError

LOG_IN = "gcloud auth application-default login, or name a service account's key in pubsub.credentials"
ROLES = {
    "publish to": "roles/pubsub.publisher",
    "create": "roles/pubsub.editor",
    "look at": "roles/pubsub.viewer",
}
"""What a call needs; all others need the subscriber's."""
_SUBSCRIBER = "roles/pubsub.subscriber"
_PASSING = (google.TooManyRequests, google.Cancelled, google.Aborted)
"""By their HTTP status the client is at fault, yet a second try may succeed."""
_PLUGIN = "Getting metadata from plugin failed"
"""How gRPC says that there is no token: as UNAVAILABLE, whether the account is bad or the network."""
_NO_NETWORK = re.compile(
    r"Max retries exceeded|NameResolutionError|Failed to resolve|Connection(Error| refused| reset| aborted)"
    r"|[Tt]imed? ?out|unreachable|TransportError|Temporary failure|RemoteDisconnected"
)
_TOO_LARGE = re.compile(r"(message|payload|request)\b.*\b(too large|larger than max|exceeds)", re.IGNORECASE)
_NO_PROJECT = re.compile(r"project not found|user does not have access to it", re.IGNORECASE)
_DISABLED = re.compile(r"SERVICE_DISABLED|has not been used in project|it is disabled")
_BAD_NAME = re.compile(r"Invalid \[?\w*\]? ?(resource )?name|Invalid resource name", re.IGNORECASE)
_SECOND = re.compile(r"""^\((['"])(.*)\1, .*\)$""", re.DOTALL)
"""How Python shows an exception that was given another one after its words."""
_LONGEST = 300
_NETWORK = "see whether this machine reaches pubsub.googleapis.com, and https://status.cloud.google.com"
_QUOTA = "see the project's Pub/Sub quotas if that lasts"
_ENABLE = "gcloud services enable pubsub.googleapis.com"
_DOCTOR = "see buttermilkctl doctor"


def translate(error: google.GoogleAPICallError, doing: str, resource: str) -> ButtermilkError:
    """The error to raise for one of a call: ``doing`` is what was tried on ``resource``, such as "pull from"."""
    told, words = f"cannot {doing} {resource}", _words(error)
    if isinstance(error, google.NotFound):
        return _missing(told, words, resource)
    if isinstance(error, google.Unauthenticated) or _is_about_credentials(str(error)):
        return MisconfiguredError(f"{told}: Google does not accept the credentials: {words}", hint=LOG_IN)
    if isinstance(error, google.Forbidden):
        return LackingPermissionError(
            f"{told}: {words}", hint=_ENABLE if _DISABLED.search(words) else grant(doing, resource)
        )
    if isinstance(error, google.AlreadyExists):
        return ConflictError(f"{told}: it exists already")
    if isinstance(error, google.ClientError) and not isinstance(error, _PASSING):
        return _refused(error, told, words)
    return _outage(error, told, words)


def _refused(error: google.ClientError, told: str, words: str) -> ButtermilkError:
    """It would be refused again."""
    if isinstance(error, google.FailedPrecondition) or _BAD_NAME.search(words):
        return MisconfiguredError(f"{told}: {words}", hint=_DOCTOR)
    return InvalidRequestError(f"{told}: {words}")


def _outage(error: google.GoogleAPICallError, told: str, words: str) -> ButtermilkError:
    """It may be done another time, with the exception of two sorts that no time mends."""
    if isinstance(error, google.ResourceExhausted):
        if _TOO_LARGE.search(words):  # in gRPC's own words, on either side
            return InvalidRequestError(f"{told}: {words}")
        return UnavailableError(f"{told}: {words}", hint=_QUOTA)
    if isinstance(error, google.MethodNotImplemented):
        return MisconfiguredError(f"{told}: {words}", hint=_DOCTOR)
    if isinstance(error, google.DeadlineExceeded):
        words = "no answer in time"
    return UnavailableError(f"{told}: {words}", hint=_unreached())


def _unreached() -> str:
    """What to look at where Pub/Sub does not answer; those that try again by themselves say so."""
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        return f"start the emulator at {emulator}, or unset PUBSUB_EMULATOR_HOST"
    return _NETWORK


def is_unknown_method(error: ButtermilkError) -> bool:
    """Whether the server has no such method at all, as the emulator has none about permissions."""
    return isinstance(error.__cause__, google.MethodNotImplemented)


def no_credentials(error: Exception, file: Path | None) -> ButtermilkError:
    """For an error of the look-up of credentials."""
    if isinstance(error, TransportError):
        return UnavailableError(
            f"cannot get credentials for Pub/Sub: {_short(str(error))}", hint=_unreached()
        )
    if file is not None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return MisconfiguredError(
            f"cannot use the credentials in {file}: {_short(reason)}",
            hint="set pubsub.credentials to a service account's key, readable by the daemon's user",
        )
    return MisconfiguredError(
        f"cannot use Pub/Sub: there are no credentials: {_short(str(error))}", hint=LOG_IN
    )


def _missing(told: str, words: str, resource: str) -> ButtermilkError:
    if _NO_PROJECT.search(words):
        return MisconfiguredError(f"{told}: {words}", hint="set pubsub.project to the project's id")
    kind = "subscription" if "/subscriptions/" in resource else "topic"
    hint = (
        "it is made where pubsub.create = true; else see buttermilkctl doctor for the command that makes it"
    )
    return GoneError(f"{told}: there is no such {kind}", resource=resource, hint=hint)


def _is_about_credentials(text: str) -> bool:
    return _PLUGIN in text and not _NO_NETWORK.search(text)


def grant(doing: str, resource: str) -> str:
    """The command that lets an account do this; ``ACCOUNT`` stands for it."""
    role = ROLES.get(doing, _SUBSCRIBER)
    _, project, *below = resource.split("/")
    if doing == "create" or not below:
        return f"gcloud projects add-iam-policy-binding {project} --member=ACCOUNT --role={role}"
    kind, name = below
    return f"gcloud pubsub {kind} add-iam-policy-binding {name} --project={project} --member=ACCOUNT --role={role}"


def _words(error: google.GoogleAPICallError) -> str:
    """The service's own words, or gRPC's, without what gRPC tried before."""
    return _short(
        str(error.message).rpartition("last error: ")[2].removeprefix("UNKNOWN: ") or type(error).__name__
    )


def _short(text: str) -> str:
    line = (_SECOND.sub(r"\2", text.strip()).splitlines() or [""])[0].strip().rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
