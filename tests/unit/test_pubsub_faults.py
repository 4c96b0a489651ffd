"""What Google's packages raise, in the words that people get."""

import re
from pathlib import Path

import pytest
from google.api_core import exceptions as google
from google.auth.exceptions import DefaultCredentialsError, TransportError

from buttermilkd.errors import (
    ButtermilkError,
    ConflictError,
    InvalidRequestError,
    MisconfiguredError,
    UnavailableError,
)
from buttermilkd.queues.pubsub import faults
from buttermilkd.queues.pubsub.api import GoneError, LackingPermissionError

TOPIC = "projects/p/topics/jobs"
PLUGIN = "Getting metadata from plugin failed with error: "
REVOKED = f"{PLUGIN}('invalid_grant: Token has been expired or revoked.', {{'error': 'invalid_grant'}})"
OFFLINE = f"{PLUGIN}HTTPSConnectionPool(host='oauth2.googleapis.com', port=443): Max retries exceeded with url: /token"
REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: "
    "Failed to connect to remote host: Connection refused"
)
DISABLED = "Cloud Pub/Sub API has not been used in project 7 before or it is disabled."

CASES: list[tuple[google.GoogleAPICallError, type[ButtermilkError], str, str | None]] = [
    (
        google.NotFound("Resource not found (resource=jobs)."),
        GoneError,
        "there is no such topic",
        "pubsub.create",
    ),
    (
        google.NotFound("Requested project not found or user does not have access to it (project=p)."),
        MisconfiguredError,
        "Requested project not found",
        "pubsub.project",
    ),
    (
        google.ServiceUnavailable(REFUSED),
        UnavailableError,
        ": ipv4:127.0.0.1:9: Failed to connect",
        "pubsub.googleapis.com",
    ),
    (
        google.ServiceUnavailable(REVOKED),
        MisconfiguredError,
        "invalid_grant: Token",
        "application-default login",
    ),
    (google.ServiceUnavailable(OFFLINE), UnavailableError, "Max retries exceeded", "pubsub.googleapis.com"),
    (
        google.Unauthenticated("Request had invalid credentials."),
        MisconfiguredError,
        "invalid",
        "gcloud auth",
    ),
    (
        google.PermissionDenied("User not authorized to perform this action."),
        LackingPermissionError,
        "User not authorized",
        (
            "gcloud pubsub topics add-iam-policy-binding jobs --project=p --member=ACCOUNT "
            "--role=roles/pubsub.publisher"
        ),
    ),
    (google.PermissionDenied(DISABLED), MisconfiguredError, "disabled", "gcloud services enable"),
    (
        google.DeadlineExceeded("Deadline Exceeded"),
        UnavailableError,
        "no answer in time",
        "pubsub.googleapis.com",
    ),
    (google.InternalServerError("boom"), UnavailableError, "boom", "pubsub.googleapis.com"),
    (google.Unknown(""), UnavailableError, "Unknown", "pubsub.googleapis.com"),
    (google.Aborted("boom"), UnavailableError, "boom", "pubsub.googleapis.com"),
    (google.Cancelled("gone"), UnavailableError, "gone", "pubsub.googleapis.com"),
    (google.ResourceExhausted("Quota exceeded for pubsub"), UnavailableError, "Quota exceeded", "quotas"),
    (
        google.ResourceExhausted("CLIENT: Received message larger than max (9900000 vs. 4194304)"),
        InvalidRequestError,
        "larger than max",
        None,
    ),
    (google.InvalidArgument("The request is too large"), InvalidRequestError, "too large", None),
    (google.InvalidArgument("Invalid [topics] name: (name=x)"), MisconfiguredError, "Invalid", "doctor"),
    (google.FailedPrecondition("Subscription is detached"), MisconfiguredError, "detached", "doctor"),
    (google.MethodNotImplemented("no"), MisconfiguredError, "no", "doctor"),
    (google.AlreadyExists("there"), ConflictError, "it exists already", None),
]


@pytest.mark.parametrize(("error", "kind", "words", "hint"), CASES, ids=lambda value: str(value)[:40])
def test_each_fault_is_one_plain_sentence_with_something_to_do(
    error: google.GoogleAPICallError, kind: type[ButtermilkError], words: str, hint: str | None
) -> None:
    told = faults.translate(error, "publish to", TOPIC)

    assert type(told) is kind or (kind is not UnavailableError and isinstance(told, kind))
    assert str(told).startswith(f"cannot publish to {TOPIC}: ")
    assert words in str(told)
    assert "\n" not in str(told)
    assert (hint in (told.hint or "")) if hint else told.hint is None


@pytest.mark.parametrize(
    ("doing", "resource", "role"),
    [
        (
            "pull from",
            "projects/p/subscriptions/s",
            "subscriptions add-iam-policy-binding s .*roles/pubsub.subscriber",
        ),
        ("look at", TOPIC, "topics add-iam-policy-binding jobs .*roles/pubsub.viewer"),
        (
            "create",
            TOPIC,
            "gcloud projects add-iam-policy-binding p --member=ACCOUNT --role=roles/pubsub.editor",
        ),
    ],
)
def test_a_lacking_permission_names_the_role_to_grant(doing: str, resource: str, role: str) -> None:
    told = faults.translate(google.PermissionDenied("no"), doing, resource)

    assert re.search(role, told.hint or "")


def test_words_without_end_are_cut() -> None:
    assert len(str(faults.translate(google.Unknown("x" * 9999), "pull from", TOPIC))) < 400


@pytest.mark.parametrize(
    ("error", "file", "words"),
    [
        (DefaultCredentialsError("none were found"), None, "there are no credentials: none were found"),
        (
            PermissionError(13, "Permission denied", "/key.json"),
            Path("/key.json"),
            "credentials in /key.json: Permission denied",
        ),
        (
            ValueError("No key could be detected.\nmore"),
            Path("/k"),
            "credentials in /k: No key could be detected",
        ),
    ],
)
def test_missing_credentials_are_for_a_person_to_mend(
    error: Exception, file: Path | None, words: str
) -> None:
    told = faults.no_credentials(error, file)

    assert isinstance(told, MisconfiguredError)
    assert words in str(told)
    assert "pubsub.credentials" in (told.hint or "")


def test_where_the_emulator_does_not_answer_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "localhost:8085")
    told = faults.translate(google.ServiceUnavailable(REFUSED), "publish to", TOPIC)
    assert told.hint == "start the emulator at localhost:8085, or unset PUBSUB_EMULATOR_HOST"


def test_what_is_wrong_with_credentials_is_told_in_words_and_not_in_pythons() -> None:
    cause = ValueError("Expecting value: line 1")
    told = faults.no_credentials(
        DefaultCredentialsError("File /k is not a valid json file.", cause), Path("/k")
    )
    assert str(told) == "cannot use the credentials in /k: File /k is not a valid json file"


def test_credentials_that_cannot_be_reached_are_an_outage() -> None:
    told = faults.no_credentials(TransportError("no route"), None)

    assert isinstance(told, UnavailableError)
