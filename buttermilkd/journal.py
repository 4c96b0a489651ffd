"""What a log record says beside its sentence: the kind of event that it tells of, and what it is about. No I/O.

A record gets it by ``logger.info("…", extra=about(job, Kind.JOB_STARTED))``. In the journal these are fields that can be
asked for, such as ``journalctl JOB_ID=batch-1a2b3c4d.7``; elsewhere only the sentence is shown.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from itertools import islice
from logging import LogRecord

from buttermilkd.jobs import BatchSpec, Job, split_job_id

Fields = Mapping[str, str | Collection[str]]
"""Journal fields by their names; one that is there several times has several values."""

MOST_JOBS = 100
"""That a record names which is about many: all of their ids together must stay small."""

_ATTRIBUTE = "journal_fields"


class Kind(StrEnum):
    """The kinds of events, and the MESSAGE_ID of each.

    Every one is explained in ``systemd/buttermilkd.catalog`` and in ``docs/journal.md``. They were made by chance once, and
    are never changed: people and programs ask for them.
    """

    STARTED = "d408b72c3fc1483192c1b5dd1ff8c624"
    READY = "1f120f21a40643b2b2d476062a4c7d42"
    CANNOT_START = "7bf257e67ebe449da069a569335cb94d"
    STOPPING = "eedd54e9c4184a1093cd34051b945e74"
    STOPPED = "06a4e922d32848639623c674a7dfdfae"
    RELOADED = "4debc4795d934a7b9034cd7ce89c8556"
    RELOAD_REFUSED = "9320c78df67a44d9baf4039758123e27"
    SERVICE_DIED = "8b12cbc821bd408dbf64d094784aa74c"
    BATCH_CREATED = "4957d066c0ff47969317d891bd21ab8c"
    BATCH_STARTED = "15d3756b02eb4987a2553b301e0f1fbb"
    BATCH_COMPLETED = "421f6622aa9d4f3e8acc9afc84bf2b37"
    BATCH_FAILED = "fcbb7213f7a14b508e574f561888b89b"
    BATCH_CANCELLED = "f187ed78932c46bdabdb3be26c1eea98"
    BATCH_REOPENED = "687a0703bbaa4a4982111b5665f422e2"
    BATCH_REMOVED = "dcf351a2f8344092a3bfb37b9d0a46c4"
    JOB_STARTED = "ea49ee97cd4b4be7b45bd7c6cbc192ce"
    JOB_COMPLETED = "a5111f1aad1b41c285f36391c44db588"
    JOB_FAILED = "943510c395e9475d8946e83ab60834d1"
    JOB_RETRIED = "8e3b95315ef64d619e9edffadf0d628e"
    JOB_INTERRUPTED = "4e1c25219ef641bfa13810dc292b7224"
    JOB_CANCELLED = "a8db588770f647e58784345853a22203"
    JOB_GIVEN_BACK = "81e37ed561064049812edb9fb4285ed7"
    JOBS_SUSPENDED = "f745e67884ae4fc586d4f4b142a89aad"
    JOBS_RESUMED = "5b677f1fab5b44a89f52c0962edb0168"
    DEAD_LETTER = "b8b23030c19344a59160038cf1d2b30f"
    DEAD_LETTER_REQUEUED = "452265954418400f8fc653bce21fb079"
    DEAD_LETTER_DROPPED = "f05b3772dddf4426aa09dde0aaa53a95"
    GATE_OPENED = "f1a8da8ca67e481687de809813b0a136"
    GATE_CLOSED = "a4d1075b986c49588b3009b9d88d05fa"
    PAUSED = "73ff1f2349b242f0b8191f8fa3aeb46a"
    RESUMED = "16f6cf93986a48898c551887ce99e04c"
    QUEUE_UNREACHABLE = "75973d3fb76440b895353663b06249db"
    QUEUE_BACK = "4865868ab7f44734939d2d6ff447b67f"
    STORAGE_TROUBLE = "0fde3264a644476396c84511359c426b"
    CHANGE_ASKED = "65846c3efe0a4ffcab99190b6a8e56eb"
    CHANGE_REFUSED = "5e05973d824d42c4b70050e557f0ed63"
    CANCEL_ASKED = "deff73f26b094ad0a18b327cb9f83373"
    RETRY_ASKED = "d6e6abe1547e42e3935665c59bfafb5f"
    RECORDS_LOST = "1995aeb95cf445cc83cf4c136b068a30"
    OUTPUT_CUT = "1cf6d19a82d4478cbf40193783bbd46d"
    FAILURES_CUT = "dad66244c4bf48ed82ccd6ec1905a5c2"


def about(
    subject: Job | BatchSpec | str | Collection[str] | None = None,
    kind: Kind | None = None,
    *,
    flow: str | None = None,
    host: str | None = None,
    peer_uid: int | None = None,
) -> dict[str, Fields]:
    """The ``extra`` of a log record about this job, or batch, or what has this id, or these ids of jobs.

    ``host`` is another host than this one, whose name every record has; ``peer_uid`` is the user who asked.
    """
    fields: dict[str, str | Collection[str]] = dict(fields_of(subject))
    if kind is not None:
        fields["MESSAGE_ID"] = kind
    if flow is not None:
        fields["FLOW"] = flow
    if host is not None:
        fields["HOST"] = host
    if peer_uid is not None:
        fields["PEER_UID"] = str(peer_uid)
    return {_ATTRIBUTE: fields}


def fields_of(subject: Job | BatchSpec | str | Collection[str] | None) -> Fields:
    """What names a job or a batch, or many jobs."""
    if isinstance(subject, Job):
        return {
            "BATCH_ID": subject.batch_id,
            "JOB_ID": subject.job_id,
            "RECORD_ID": subject.record_id,
            "FLOW": subject.flow,
            "ATTEMPT": str(subject.attempt),
        }
    if isinstance(subject, BatchSpec):
        return {"BATCH_ID": subject.batch_id, "FLOW": subject.flow}
    if subject is None:
        return {}
    if not isinstance(subject, str):
        jobs = list(islice(subject, MOST_JOBS))
        return {"BATCH_ID": sorted({job.rpartition(".")[0] for job in jobs}), "JOB_ID": jobs}
    job = split_job_id(subject)
    return {"BATCH_ID": subject} if job is None else {"BATCH_ID": job[0], "JOB_ID": subject}


def fields_in(record: LogRecord) -> Fields:
    """What ``about`` has put into a record."""
    fields: Fields = getattr(record, _ATTRIBUTE, {})
    return fields
