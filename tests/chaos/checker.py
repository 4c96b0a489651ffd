"""Compares what jobs did with what is told of them. It shares no code with the daemon, and trusts none of its sentences.

One file has everything that happened, in the order in which it happened, since each line is appended in one write:

    begun JOB ATTEMPT PID            a job's first instruction
    ended JOB ATTEMPT PID STATUS     its last one
    recorded JOB STATUS ENDED_AT     whoever watches the ledger has seen this end there
    inflight JOB...                  the daemon has ended, or is about to be stopped; these run by its ledger
    retried JOB|BATCH                somebody is about to ask for another run
    cancelled JOB|BATCH              somebody is about to cancel
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be."""

    kind: str
    """``lost``, ``ended twice``, ``after its end``, ``repeated``, ``orphan``, ``disagreement`` or ``unasked``."""
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the ledger has it."""

    status: str
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that there is to compare, once everything has come to rest."""

    lines: Sequence[str]
    expected: Mapping[str, int]
    """How many jobs each batch has that was created, by batch id."""
    ledger: Mapping[str, Row]
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By batch id, as the ledger's own counters have it: jobs of each status."""
    api: Mapping[str, str] = field(default_factory=dict)
    """Status by job id, as the control API tells."""
    api_counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    told: Sequence[Mapping[str, Any]] = ()
    """Messages of the status topic."""
    told_all: bool = False
    """Nothing that was told has been lost on its way."""
    survivors: Sequence[int] = ()
    """Processes of jobs that live on."""


@dataclass(slots=True)
class _Story:
    """What the file says of one job."""

    run: int = 0
    """How often it has run again because somebody asked for that."""
    begun: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Executions, by run and attempt."""
    allowed: Counter[tuple[int, str]] = field(default_factory=Counter)
    """How many more than one there may have been."""
    attempt: tuple[int, str] = (0, "")
    statuses: set[tuple[int, str]] = field(default_factory=set)
    """With which executions ended, by run."""
    failed: set[tuple[int, str]] = field(default_factory=set)
    """Attempts that did, by run."""
    is_asked_for: bool = False
    """Somebody has asked for another run, and none has begun since."""
    end: tuple[str, str] | None = None
    was_cancelled: bool = False

    def may_run_again(self) -> bool:
        return self.is_asked_for and self.end is not None and self.end[0] != "completed"

    def run_again(self) -> None:
        self.run, self.end, self.is_asked_for = self.run + 1, None, False


def repeats(lines: Sequence[str]) -> tuple[int, int]:
    """Executions beyond the first of each attempt, and jobs in flight whenever the daemon ended."""
    stories, _ = _read(lines)
    more = sum(max(0, count - 1) for story in stories.values() for count in story.begun.values())
    return more, sum(len(line.split()) - 1 for line in lines if line.startswith("inflight"))


def check(evidence: Evidence) -> list[Finding]:
    """Everything that is wrong."""
    stories, findings = _read(evidence.lines)
    findings += _lost(evidence, stories)
    findings += _repeated(stories)
    findings += _counted(evidence)
    findings += _disagreeing(evidence)
    findings += _told(evidence)
    findings += [
        Finding("orphan", str(pid), "a process of a job lives on without it") for pid in evidence.survivors
    ]
    return findings


def _read(lines: Sequence[str]) -> tuple[dict[str, _Story], list[Finding]]:
    stories: dict[str, _Story] = defaultdict(_Story)
    findings: list[Finding] = []
    for line in lines:
        word, *rest = line.split()
        if word == "begun":
            findings += _begin(stories[rest[0]], rest[0], rest[1])
        elif word == "ended":
            story, status = stories[rest[0]], rest[3]
            story.statuses.add((story.run, status))
            if status != "0":  # failed: it may be tried again, and where it had been suspended, at no cost
                story.allowed[story.run, rest[1]] += 1
                story.failed.add((story.run, rest[1]))
        elif word == "recorded":
            findings += _record(stories[rest[0]], rest[0], (rest[1], rest[2]))
        elif word == "inflight":
            for job in rest:
                stories[job].allowed[stories[job].attempt] += 1
        elif word in ("retried", "cancelled"):
            _ask(stories, word, rest[0])
        else:
            raise ValueError(f"a line of evidence begins with {word!r}")
    return stories, findings


def _begin(story: _Story, job: str, attempt: str) -> Iterator[Finding]:
    if story.may_run_again():
        story.run_again()
    story.is_asked_for = False
    story.attempt = story.run, attempt
    story.begun[story.attempt] += 1
    if int(attempt) > 1 and (story.run, str(int(attempt) - 1)) not in story.failed:
        yield Finding("repeated", job, f"attempt {attempt} began, and the one before had not failed")
    if story.end is not None:
        yield Finding(
            "after its end", job, f"attempt {attempt} began after its end was recorded: {story.end}"
        )


def _record(story: _Story, job: str, end: tuple[str, str]) -> Iterator[Finding]:
    if story.end != end and story.may_run_again():  # and was cancelled before it could
        story.run_again()
    if story.end not in (None, end):
        yield Finding("ended twice", job, f"recorded as {story.end}, and then as {end}")
    story.end = end


def _ask(stories: dict[str, _Story], word: str, subject: str) -> None:
    """Of a job, or of all jobs of a batch."""
    jobs = [subject] if "." in subject else [job for job in stories if _batch_of(job) == subject]
    if word == "cancelled" and "." not in subject:
        stories[subject].was_cancelled = True
    for job in jobs:
        story = stories[job]
        if word == "cancelled":
            story.was_cancelled = True
        elif story.end is None or story.end[0] != "completed":
            # Where no end was seen, it may come between this line and what is asked for.
            story.is_asked_for = True
            if story.end is None and stories[_batch_of(job)].was_cancelled:
                story.allowed[story.attempt] += 1  # nor need anybody see it


def _batch_of(job: str) -> str:
    return job.rpartition(".")[0]


def _lost(evidence: Evidence, stories: Mapping[str, _Story]) -> Iterator[Finding]:
    nothing = _Story()
    for batch, count in evidence.expected.items():
        for job in (f"{batch}.{number}" for number in range(1, count + 1)):
            row, story = evidence.ledger.get(job), stories.get(job, nothing)
            if row is None:
                yield Finding("lost", job, "the ledger does not know it")
            elif row.status not in ENDED:
                yield Finding("lost", job, f"it is {row.status}, and nothing goes on any more")
            elif row.status == "completed" and (story.run, "0") not in story.statuses:
                yield Finding("lost", job, "it is recorded as completed, and never came to its end")
            elif row.status == "failed" and all(run != story.run for run, _ in story.failed):
                yield Finding("lost", job, "it is recorded as failed, and never did")
            elif row.status == "cancelled" and not (
                story.was_cancelled or stories.get(batch, nothing).was_cancelled
            ):
                yield Finding("unasked", job, "it was cancelled, and nobody had asked for that")


def _repeated(stories: Mapping[str, _Story]) -> Iterator[Finding]:
    for job, story in stories.items():
        for (run, attempt), begun in story.begun.items():
            most = 1 + story.allowed[run, attempt]
            if begun > most:
                text = f"attempt {attempt} began {begun} times, and was in flight at {most - 1} ends of the daemon"
                yield Finding("repeated", job, text)


def _counted(evidence: Evidence) -> Iterator[Finding]:
    """A job that ended twice has been counted twice."""
    for batch, counters in evidence.counters.items():
        jobs = Counter(row.status for job, row in evidence.ledger.items() if _batch_of(job) == batch)
        for status, count in counters.items():
            if jobs[status] != count:
                yield Finding(
                    "ended twice", batch, f"counted as {status}: {count}; jobs that are: {jobs[status]}"
                )


def _disagreeing(evidence: Evidence) -> Iterator[Finding]:
    for job, status in evidence.api.items():
        row = evidence.ledger.get(job)
        if row is None or row.status != status:
            yield Finding("disagreement", job, f"the API says {status}, the ledger {row and row.status}")
    for batch, counters in evidence.api_counters.items():
        for status, count in counters.items():
            if evidence.counters.get(batch, {}).get(status) != count:
                yield Finding(
                    "disagreement", batch, f"the API counts {count} as {status}, the ledger does not"
                )


def _told(evidence: Evidence) -> Iterator[Finding]:
    """Of one execution one end is told, and the last one that is told is what the ledger has."""
    ends: dict[tuple[str, int], dict[str, Any]] = {}
    last: dict[str, Mapping[str, Any]] = {}
    for message in evidence.told:
        job = message.get("job_id")
        if message.get("type") != "job_status" or job is None:
            continue
        if message["status"] in ENDED:
            first = ends.setdefault((job, message["generation"]), dict(message))
            if (first["status"], first["ended_at"]) != (message["status"], message["ended_at"]):
                text = f"told as {first['status']} at {first['ended_at']}, and as {message['status']} at {message['ended_at']}"
                yield Finding("ended twice", job, text)
        if job not in last or _order(last[job]) < _order(message):
            last[job] = message
    if evidence.told_all:
        cancelled = {one["batch_id"] for one in evidence.told if one.get("event") == "cancelled"}
        for job, row in evidence.ledger.items():
            said = last.get(job, {}).get("status")
            # Of a batch that is cancelled one message tells, for all of its jobs that wait.
            in_one = row.status == "cancelled" and said in (None, "pending") and _batch_of(job) in cancelled
            if said != row.status and not in_one:
                yield Finding("disagreement", job, f"the status topic says {said}, the ledger {row.status}")


def _order(message: Mapping[str, Any]) -> tuple[int, bool, int]:
    return message["generation"], message["status"] in ENDED, message["sequence"]
