"""One attempt of a command flow, as one process."""

import errno
import json
import os
from collections.abc import Callable

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Outcome
from buttermilkd.runner.arguments import (
    PARAMETERS,
    USE_A_FILE,
    TooLargeError,
    UnusableArgumentError,
    document,
    environment,
    fill,
    left_out,
)
from buttermilkd.runner.attempt import Allowance, Attempt, cause_of, timed_out
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.process import Exit, Process
from buttermilkd.runner.launcher.request import Request
from buttermilkd.runner.launcher.spawner import Spawner, spawn_problem
from buttermilkd.runner.output import BoundedLog, LastLine, telling_line
from buttermilkd.runner.results import UnusableResultError, json_text, read_result, remove_result
from buttermilkd.runner.timers import Timers

EX_DATAERR = 65
EX_TEMPFAIL = 75
_ENDINGS = {EX_DATAERR: Ending.REJECTED, EX_TEMPFAIL: Ending.DEFERRED}
_TOO_LONG = os.strerror(errno.E2BIG)
"""All arguments and variables together."""
_ERRORS_KEPT = 32 * 1024


class CommandRun:
    """One attempt as one process."""

    def __init__(
        self, attempt: Attempt, flow: FlowSettings, result: str, timers: Timers, clock: Clock
    ) -> None:
        self.attempt = attempt
        self.process: Process | None = None
        self.log = BoundedLog(flow.output_limit)
        self._flow = flow
        self._result = result
        self._clock = clock
        self._last_line = LastLine(flow.result_limit)
        self._errors = BoundedLog(_ERRORS_KEPT)
        self._allowance = Allowance(timers, flow.timeout, self._time_is_up)

    def start(self, spawner: Spawner, ended: Callable[[Outcome], None]) -> None:
        """Start it; ``ended`` is called once, perhaps before this returns."""
        flow, job = self._flow, self.attempt.job
        try:
            request = Request(
                arguments=fill(flow.command or (), job),
                directory=str(flow.directory),
                environment=environment(job, flow.env, self._result),
                files={name: str(path) for name, path in flow.env_files.items()},
                stdin=json.dumps(document(job)) + "\n",
            )
            if PARAMETERS not in request.environment:
                self._note(left_out(job))
            self.process = spawner.spawn(
                request,
                write=(self._write_output, self._write_error),
                calm=flow.output_limit,
                started=self._began,
                ended=lambda end: ended(self._outcome(end)),
            )
        except TooLargeError as error:
            ended(_failed(str(error), Ending.REJECTED))
        except UnusableArgumentError as error:
            ended(_failed(str(error)))
        except OSError as error:
            ended(_unstarted(spawn_problem(error)))

    def stop(self, ending: Ending, *, now: bool) -> None:
        if self.attempt.asked is None:
            self.attempt.asked = ending
        if self.process is not None:
            if now:
                self.process.kill()
            else:
                self.process.terminate(self._flow.grace)

    def suspend(self) -> None:
        if self.attempt.is_ending:
            return
        self.attempt.suspend(self._clock.monotonic())
        self._allowance.suspend()
        if self.process is not None:
            self.process.suspend()

    def resume(self) -> None:
        self.attempt.resume(self._clock.monotonic())
        self._allowance.resume(started=self.attempt.started_at is not None)
        if self.process is not None:
            self.process.resume()

    def _began(self) -> None:
        self.attempt.started_at = self._clock.now()
        self.attempt.pid = self.process.pid if self.process else None
        self._allowance.start()

    def _write_output(self, data: bytes) -> None:
        self.log.write(data)
        self._last_line.write(data)
        self.attempt.printed(data)

    def _write_error(self, data: bytes) -> None:
        self.log.write(data)
        self._errors.write(data)
        self.attempt.printed(data, errors=True)

    def _note(self, text: str) -> None:
        """Say something of ours in the job's log."""
        line = f"buttermilkd: {text}\n".encode()
        self.log.write(line)
        self.attempt.printed(line, errors=True)

    def _time_is_up(self) -> None:
        self.attempt.timed_out = True
        if self.process is not None:
            self.process.terminate(self._flow.grace)

    def _outcome(self, end: Exit) -> Outcome:
        self._allowance.cancel()
        killed = self.process is not None and self.process.killed
        if self.attempt.asked is not None:
            remove_result(self._result)
            return Outcome(self.attempt.asked, log=self.log.content(), killed=killed)
        if self.attempt.timed_out:
            remove_result(self._result)
            return _failed(timed_out(self._flow.timeout or 0), log=self.log.content(), killed=killed)
        if end.status == 0:
            return self._completed()
        remove_result(self._result)
        return self._unsuccessful(end)

    def _completed(self) -> Outcome:
        try:
            result = read_result(self._result, self._flow.result_limit)
        except UnusableResultError as error:
            return _failed(str(error), log=self.log.content())
        line = self._last_line.line()
        if result is None and line is not None:
            try:
                result = json_text(line)
            except ValueError:
                result = None  # an ordinary line of text
        return Outcome(Ending.COMPLETED, result=result, log=self.log.content())

    def _unsuccessful(self, end: Exit) -> Outcome:
        if end.status is None and end.words.endswith(_TOO_LONG):
            return _unstarted(end.words)
        errors = self._errors.content().decode("utf-8", "replace")
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        error = f"{end.words}: {lines[-1]}" if lines else end.words
        ending = Ending.INTERRUPTED if end.interrupted else _ENDINGS.get(end.status or 0, Ending.FAILED)
        return Outcome(
            ending, error=error, cause=cause_of(end.words, telling_line(errors)), log=self.log.content()
        )


def _unstarted(problem: str) -> Outcome:
    if problem.endswith(_TOO_LONG):  # at every attempt
        return _failed(f"{problem}; {USE_A_FILE}", Ending.REJECTED)
    return _failed(problem)


def _failed(
    reason: str, ending: Ending = Ending.FAILED, *, log: bytes = b"", killed: bool = False
) -> Outcome:
    return Outcome(ending, error=reason, cause=cause_of(reason, None), log=log, killed=killed)
