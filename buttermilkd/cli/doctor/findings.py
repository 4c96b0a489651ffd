"""What the doctor says of one thing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    detail: str
    mend: str | None = None
    """What to do about it; for what is no fault, what would make it better."""


def good(subject: str, detail: str, better: str | None = None) -> Finding:
    return Finding(subject, ok=True, detail=detail, mend=better)


def bad(subject: str, detail: str, mend: str | None = None) -> Finding:
    return Finding(subject, ok=False, detail=detail, mend=mend)
