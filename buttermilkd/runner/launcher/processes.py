"""What the kernel says about processes, read from /proc. Standard library only: the launcher imports it too.

``/proc/<pid>/task/<tid>/children`` is missing on many kernels, so parents are looked up from the children.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

MARK = "BUTTERMILK_SPAWN"
"""Names, in the environment of every process of a job, the launcher and the spawn that it comes from."""


LOWEST_NICE = 19
_LONGEST_STAT = 4096
"""Bytes: fifty numbers and a name of 64 characters at most."""
_FIELDS = 15
"""Behind the name, as far as they are of interest."""
_GRANTED_EVERY = 0.1
"""Seconds between two changes of a session's weight that the kernel grants to users without privileges."""


class Stat(NamedTuple):
    """One process. CPU times are in clock ticks."""

    pid: int
    parent: int
    group: int
    session: int
    state: str
    own_ticks: int
    children_ticks: int
    """Of its children that ended and were waited for, with theirs."""


def read_stat(pid: int) -> Stat | None:
    """What ``/proc/<pid>/stat`` says; None where there is no such process any more."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)  # a file object would cost more than the read
    except OSError:
        return None
    try:
        text = os.read(file, _LONGEST_STAT)
    except OSError:
        return None
    finally:
        os.close(file)
    # The name is in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split(None, _FIELDS)
    own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    parent, group, session = int(fields[1]), int(fields[2]), int(fields[3])
    return Stat(pid, parent, group, session, fields[0].decode(), own, children)


def all_pids() -> list[int]:
    """Every process that this one can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def newest_pid() -> int:
    """The process or thread id that was given out last."""
    with open("/proc/loadavg", "rb") as file:  # noqa: PTH123
        return int(file.read().rsplit(None, 1)[1])


def mark_of(pid: int) -> str | None:
    """The value of ``MARK`` in a process's environment; None where it has none or may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            variables = file.read().split(b"\0")
    except OSError:
        return None
    name = MARK.encode() + b"="
    for variable in variables:
        if variable.startswith(name):
            return variable[len(name) :].decode("utf-8", "replace")
    return None


def read_stats(pids: Iterable[int]) -> list[Stat]:
    """The processes among ``pids`` that exist."""
    return [stat for pid in pids if (stat := read_stat(pid)) is not None]


def descendants(stats: Iterable[Stat], roots: Iterable[int]) -> list[Stat]:
    """Those of ``stats`` that descend from one of ``roots``, which are not in it themselves."""
    children: dict[int, list[Stat]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat)
    found: list[Stat] = []
    waiting = list(roots)
    while waiting:
        below = children.pop(waiting.pop(), [])
        found += below
        waiting += [stat.pid for stat in below]
    return found


def send_signal(pid: int, number: int) -> None:
    """Signal one process; one that is gone or belongs to another user is left alone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(group: int, number: int) -> None:
    """Signal a process group; one that is gone or belongs to another user is left alone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_marked(prefix: str) -> int:
    """SIGKILL every process whose mark begins with ``prefix``, and return how many there were."""
    return _kill(lambda: [pid for pid in all_pids() if _is_marked(pid, prefix)])


def kill_left(session: int, prefix: str) -> int:
    """SIGKILL what the leader of ``session`` has left, which has just died, and return how many there were.

    That is who is in its session, whose number is nobody else's while anybody is, who has a mark that begins with
    ``prefix``, and who descends from one of those.
    """

    def left() -> list[int]:
        stats = read_stats(all_pids())
        roots = [one.pid for one in stats if one.session == session or _is_marked(one.pid, prefix)]
        return [*roots, *(one.pid for one in descendants(stats, roots))]

    return _kill(left)


def _kill(found: Callable[[], Iterable[int]]) -> int:
    """SIGKILL all that is found. What has been killed cannot fork any more, so when a look finds nothing new, nothing is left."""
    killed: set[int] = set()
    while new := set(found()) - killed:
        for pid in new:
            send_signal(pid, signal.SIGKILL)
        killed |= new
    return len(killed)


def _is_marked(pid: int, prefix: str) -> bool:
    return (mark_of(pid) or "").startswith(prefix)


def lower_session(pid: int, patience: float = 0.0) -> bool:
    """Give the session of ``pid`` the least weight among all sessions, where the kernel schedules by session.

    The kernel refuses it for a moment when it has done so for somebody else just before: then try again for
    ``patience`` seconds. Returns False where it has refused to the end; True where it is done, or cannot be
    done for another reason, such as a kernel that knows no such thing. Source: sched(7), autogroup.
    """
    for again in reversed(range(1 + round(patience / _GRANTED_EVERY))):
        try:
            with open(f"/proc/{pid}/autogroup", "wb", buffering=0) as file:  # noqa: PTH123
                if (
                    file.write(str(LOWEST_NICE).encode()) is not None
                ):  # as it is where the kernel says to try again
                    return True
        except OSError:
            return True
        if again:
            time.sleep(_GRANTED_EVERY)
    return False
