"""What jobs print, line by line into the journal: never so much that one of them drowns the rest."""

from buttermilkd.budget import Budget
from buttermilkd.clock import Clock
from buttermilkd.host.journal.entries import entry
from buttermilkd.host.journal.lines import Lines, Stream
from buttermilkd.host.journal.sender import Sender
from buttermilkd.jobs import Job
from buttermilkd.journal import Kind, fields_of
from buttermilkd.plurals import count

OF_ONE_JOB = {"rate": 100.0, "burst": 500.0}
OF_ALL_JOBS = {"rate": 200.0, "burst": 2000.0}
"""Lines a second, and at once. The journal lets a service say 10,000 lines in 30 seconds: some are left for the daemon."""
_SHARE = 0.5
"""Of the queue of entries that may be filled with output."""
_CUT_PRIORITY = "5"


class JobsOutput:
    """Of all jobs together."""

    def __init__(self, sender: Sender, clock: Clock) -> None:
        self._sender = sender
        self._clock = clock
        self._budget = Budget(clock, **OF_ALL_JOBS)

    def listen(self, job: Job) -> "JobOutput":
        """Where the output of one attempt goes."""
        return JobOutput(job, self._sender, (Budget(self._clock, **OF_ONE_JOB), self._budget))


class JobOutput:
    """Of one attempt. What there was no room for is counted, and the count told before what comes next."""

    def __init__(self, job: Job, sender: Sender, budgets: tuple[Budget, ...]) -> None:
        self._job = job
        self._sender = sender
        self._budgets = budgets
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
        if not self._tell_left_out():
            self._sender.lose()

    def _leave_out(self, lines: int) -> None:
        self._left_out += lines

    def _tell(self, line: str, priority: int, stream: Stream) -> bool:
        if not all(budget.allows for budget in self._budgets):
            return False
        if self._left_out and not self._tell_left_out():
            return False
        if not self._offer({"MESSAGE": line, "PRIORITY": str(priority), "STREAM": stream}):
            return False
        for budget in self._budgets:
            budget.spend()
        return True

    def _tell_left_out(self) -> bool:
        if not self._left_out:
            return True
        lines = count(self._left_out, "line")
        text = f"… {lines} left out here: buttermilkctl logs {self._job.job_id} shows the beginning and the end …"
        kept = {"MESSAGE": text, "PRIORITY": _CUT_PRIORITY, "MESSAGE_ID": Kind.OUTPUT_CUT}
        # It may take the room that is left for what the daemon says: there is one for very many lines.
        told = self._offer({**kept, "LINES": str(self._left_out)}, share=1.0)
        if told:
            self._left_out = 0
        return told

    def _offer(self, fields: dict[str, str], share: float = _SHARE) -> bool:
        return self._sender.offer(entry({**fields, **self._fields}), share=share)
