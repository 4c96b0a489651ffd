"""Whether the process of a warm worker is stopped or goes on."""

from collections.abc import Callable

from buttermilkd.runner.callables.handed import Handed
from buttermilkd.runner.callables.workerprocess import WorkerProcess
from buttermilkd.runner.timers import Timers

_RECALL_PATIENCE = 0.02
"""Seconds that a suspension waits for a worker to drop what was recalled."""


class Suspension:
    """Of one worker, which says whether it is ``closing``, and whether it is ``ready``."""

    def __init__(
        self,
        handed: Handed,
        process: WorkerProcess,
        timers: Timers,
        *,
        closing: Callable[[], bool],
        ready: Callable[[], bool],
    ) -> None:
        self._handed = handed
        self._process = process
        self._timers = timers
        self._closing = closing
        self._ready = ready
        self._recalls = 0
        """Answers that are due to what was asked back."""
        self._waited_for_recall = False

    def suspend(self, job_ids: set[str]) -> None:
        """Stop it where it is, where every job that it executes is meant."""
        begun = self._handed.begun
        if self._handed.suspended or not begun or not begun.keys() <= job_ids:
            return
        self._handed.suspend()
        if self._recalls:
            self._timers.after(_RECALL_PATIENCE, self._recall_is_overdue)
        self.hold()

    def _recall_is_overdue(self) -> None:
        self._waited_for_recall = True
        self.hold()

    def resume(self, job_ids: set[str]) -> None:
        """Let it go on, where any of its jobs is meant."""
        if self._handed.suspended and not job_ids.isdisjoint(self._handed.ids()):
            self._handed.resume()
            self.hold()

    def recall_asked(self) -> None:
        """Jobs are asked back: it goes on until it has answered, or the patience is over."""
        self._recalls += 1
        self._waited_for_recall = False
        self.hold()

    def recall_answered(self) -> None:
        """It has answered; ``hold`` follows once the answer has been acted upon."""
        self._recalls -= 1

    def hold(self) -> None:
        """Stop the process or let it go on, whichever is right for what it has now.

        It goes on while it has something to say that is waited for, and while a call that was told to stop
        cleans up; and for good when there is nothing left to suspend.
        """
        if not self._handed:
            self._handed.resume()
        is_due = bool(self._recalls) and not self._waited_for_recall
        if self._handed.suspended and not (is_due or self._closing() or self._handed.is_ending_any):
            self._process.suspend()
        else:
            self._process.resume(ready=self._ready())
