"""What a callable flow's code may use. Standard library only, for any interpreter from Python 3.9 on.

A flow is ``def`` or ``async def`` of one argument, the job, with ``job_id``, ``batch_id``, ``flow``,
``record_id``, ``parameters`` and ``attempt``. What it returns is the result; an exception fails the attempt.
"""

from typing import Optional


class Retry(Exception):  # noqa: N818 - reads as an order: raise Retry(after=60)
    """Try this job again later: not the record's fault, so it does not use up ``max_retries``.

    ``after`` is in seconds; without it the flow's ``backoff`` decides.
    """

    def __init__(self, why: str = "asked to be tried again", *, after: Optional[float] = None) -> None:
        super().__init__(why)
        self.after = after


class Reject(Exception):  # noqa: N818 - reads as an order: raise Reject("not a text")
    """Fail this job for good: trying again would not help."""
