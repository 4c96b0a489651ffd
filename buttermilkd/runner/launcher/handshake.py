"""What the daemon and a launcher that is a service of its own say first. Standard library only.

    daemon → launcher   {"mark": prefix of the marks of its processes, "protocol": number}
    launcher → daemon   ["ready", protocol, pid, control group of all jobs, why there is none]
                        ["other", protocol]: it speaks another one than the daemon, and ends

Both belong to one installation, but either may have been started before an upgrade. So each says which protocol it
speaks: that of what ``program`` describes, with these two. What comes first is the same in all of them.

Descriptors travel only after that: what is sent to a socket that nobody reads stays open there, longer than its sender lives.
"""

import errno
import json
from typing import Any, NamedTuple

PROTOCOL = 1
"""Another number for each change after which two ends of different versions would not understand each other."""
_MOST_PIDS = 2**22


class Introduction(NamedTuple):
    """What a daemon says of itself."""

    mark: str
    protocol: object


class Welcome(NamedTuple):
    """What a launcher says of itself."""

    pid: int
    group: str | None
    """The path of the control group below which each process gets one of its own."""
    ungrouped: str | None
    """Why there is none."""


def introduction(mark: str) -> bytes:
    return json.dumps({"mark": mark, "protocol": PROTOCOL}).encode()


def introduced(packet: bytes) -> Introduction | None:
    """None where it is no introduction."""
    said = _json(packet)
    if not isinstance(said, dict) or not isinstance(said.get("mark"), str):
        return None
    return Introduction(said["mark"], said.get("protocol"))


def welcome(pid: int, group: str | None, ungrouped: str | None) -> bytes:
    return json.dumps(["ready", PROTOCOL, pid, group, ungrouped]).encode()


def refusal() -> bytes:
    return json.dumps(["other", PROTOCOL]).encode()


def welcomed(packet: bytes) -> Welcome:
    """Raises ConnectionAbortedError where it is something else; ``strerror`` says what to do."""
    said = _json(packet)
    if not isinstance(said, list) or len(said) < 2 or said[0] not in ("ready", "other"):  # noqa: PLR2004
        raise _aborted("its answer is none")
    if said[0] == "other" or said[1] != PROTOCOL:
        raise _aborted(
            f"it speaks protocol {str(said[1])[:20]} and this daemon {PROTOCOL}, so one of them is older: restart buttermilkd"
        )
    match said[2:]:
        case [int(pid), str() | None as group, str() | None as ungrouped] if 0 < pid <= _MOST_PIDS:
            if group is None or (group.startswith("/") and group.isprintable()):
                return Welcome(pid, group, ungrouped)
    raise _aborted("its answer is none")


def _aborted(why: str) -> ConnectionAbortedError:
    return ConnectionAbortedError(errno.ECONNABORTED, why)


def _json(packet: bytes) -> Any:
    """None where it is not JSON."""
    try:
        return json.loads(packet)
    except (ValueError, RecursionError):
        return None
