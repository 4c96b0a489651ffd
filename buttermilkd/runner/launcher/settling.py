"""What the launcher makes of itself before it starts anything. Standard library only."""

import ctypes
import os
import signal

from buttermilkd.runner.launcher.processes import lower_session

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 1.0
"""Seconds to try to lower the session's weight, which the kernel grants only so often."""


def _take_idle_priority() -> None:
    """Idle among the processes of a session, and the session as good as idle among all sessions.

    Where the kernel schedules by session (autogroup, see sched(7)), idle priority counts within a session
    only. So jobs share the launcher's session and its weight.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    lower_session(os.getpid(), patience=_PATIENCE)


def _adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def settle() -> int:
    """Become what jobs inherit from, and their last parent. Returns what is readable when a child may have ended."""
    _adopt_orphans()
    _take_idle_priority()
    wake, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wake
