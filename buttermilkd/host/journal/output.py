"""What jobs print, line by line into the journal: never so much that one of them drowns the rest."""

from buttermilkd.bell import Bell
from buttermilkd.budget import Budget
from buttermilkd.clock import Clock
from buttermilkd.host.journal.entries import IDENTIFIER, entry
from buttermilkd.host.journal.lines import Lines, Stream
from buttermilkd.host.journal.sender import Sender
from buttermilkd.jobs import Job
from buttermilkd.journal import Kind, fields_of
from buttermilkd.plurals import count

OF_ONE_JOB = {"rate": 100.0, "burst": 500.0}
OF_ALL_JOBS = {"rate": 200.0, "burst": 2000.0}
"""Lines a second, and at once. The journal lets a service say 10,000 lines in 30 seconds: some are left for the daemon."""
OF_ALL_CUTS = {"rate": 1.0, "burst": 20.0}
"""Entries that say of one job what was left out of it. Very many short jobs would else fill the journal with those alone."""
TOGETHER_EVERY = 1.0
"""Seconds between two entries that say it of all jobs together."""
_SHARE = 0.5
"""Of the queue of entries that may be filled with output."""
_CUT_PRIORITY = "5"


class JobsOutput:
    """Of all jobs together."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._budget = Budget(clock, **OF_ALL_JOBS)
        self._cuts = Budget(clock, **OF_ALL_CUTS)
        self._left_out = 0
        """Lines of which no entry on a job of its own tells."""
        self._news = Bell()

    def listen(self, job: Job) -> "JobOutput":
        """Where the output of one attempt goes."""
        return JobOutput(job, self._sender, (Budget(self._clock, **OF_ONE_JOB), self._budget), self)

    def may_cut(self) -> bool:
        """Whether one more entry may say of one job what was left out of it."""
        if not self._cuts.allows:
            return False
        self._cuts.spend()
        return True

    def leave_out(self, lines: int) -> None:
        """Have these told together with those of other jobs."""
        self._left_out += lines
        self._news.ring()

    async def run(self) -> None:
        """Tell what was left out of all jobs together, as seldom as may be, until cancelled."""
        seen = 0
        while True:
            await self._news.heard(seen)
            seen = self._news.ring_count
            while self._left_out:
                self.finish()
                await self._clock.sleep(TOGETHER_EVERY)

    def finish(self) -> None:
        """Tell it now, as far as there is room."""
        if not self._left_out:
            return
        lines = count(self._left_out, "line")
        text = f"… {lines} of several jobs left out: buttermilkctl logs JOB shows the beginning and the end of one …"
        fields = {"SYSLOG_IDENTIFIER": IDENTIFIER, "HOST": self._sender.host}
        if self._sender.offer(entry({**cut(text, self._left_out), **fields})):
            self._left_out = 0


class JobOutput:
    """Of one attempt. What there was no room for is counted, and the count told before what comes next."""

    def __init__(self, job: Job, sender: Sender, budgets: tuple[Budget, ...], others: JobsOutput) -> None:
        self._job = job
        self._sender = sender
        self._budgets = budgets
        self._others = others
        self._left_out = 0
        self._fields = {"SYSLOG_IDENTIFIER": job.flow, "HOST": sender.host, **fields_of(job)}
        self._lines: dict[Stream, Lines] = {}

    def write(self, data: bytes, *, errors: bool) -> None:
        """Something was printed, on standard error or on standard output."""
        stream = Stream.STDERR if errors else Stream.STDOUT
        if stream not in self._lines:
            self._lines[stream] = Lines(
                stream, lambda line, priority: self._tell(line, priority, stream), self._leave_out
            )
        self._lines[stream].write(data)

    def finish(self) -> None:
        """Nothing more is printed."""
        for lines in self._lines.values():
            lines.finish()
        self._tell_left_out()

    def _leave_out(self, lines: int) -> None:
        self._left_out += lines

    def _tell(self, line: str, priority: int, stream: Stream) -> bool:
        if not all(budget.allows for budget in self._budgets):
            return False
        self._tell_left_out()
        if not self._offer({"MESSAGE": line, "PRIORITY": str(priority), "STREAM": stream}):
            return False
        for budget in self._budgets:
            budget.spend()
        return True

    def _tell_left_out(self) -> None:
        """Say how much it was; where that may not be said of this job alone, have it told with that of others."""
        if not self._left_out:
            return
        lines = count(self._left_out, "line")
        text = f"… {lines} left out here: buttermilkctl logs {self._job.job_id} shows the beginning and the end …"
        # It may take the room that is left for what the daemon says: there is one for very many lines.
        if not (self._others.may_cut() and self._offer(cut(text, self._left_out), share=1.0)):
            self._others.leave_out(self._left_out)
        self._left_out = 0

    def _offer(self, fields: dict[str, str], share: float = _SHARE) -> bool:
        return self._sender.offer(entry({**fields, **self._fields}), share=share)


def cut(text: str, lines: int) -> dict[str, str]:
    """The fields of an entry on lines that were left out."""
    return {
        "MESSAGE": text,
        "PRIORITY": _CUT_PRIORITY,
        "MESSAGE_ID": Kind.OUTPUT_CUT,
        "LINES": str(lines),
    }
