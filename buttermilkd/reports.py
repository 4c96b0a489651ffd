"""What a web server's process tells the daemon about its users: the lines of the activity socket.

Standard library only, since both ends use it: the daemon reads, the reporters in ``buttermilkd.web`` write.
One connection is one reporter; its first line is a ``Hello``, each line after it a full ``Snapshot``. Ages
are told, never times, so that no two clocks need to agree.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

VERSION = 1
MAX_LINE = 4096
"""Bytes in a line, its newline included."""
MAX_LINES_PER_SECOND = 50
MAX_NAME = 100
"""Characters in ``app``, ``worker`` and ``kind``."""
BEAT_MS = 1000
MAX_BEAT_MS = 60_000
STALE_BEATS = 3
"""A reporter that was silent for so many beats may be stuck: nobody knows what its users do."""

_HELLO = "hello"
_SNAPSHOT = "s"
"""The member ``t`` of each line."""


class Hello(NamedTuple):
    """Who reports."""

    app: str
    """A name for people, shown in reasons; printable, not empty."""
    pid: int | None = None
    """A label only: the daemon trusts what the kernel says of the peer."""
    worker: str = ""
    kind: str = ""
    """How it is built in: ``asgi``, ``wsgi``, ``aiohttp``."""
    beat_ms: int = BEAT_MS
    """A snapshot follows at least this often, in milliseconds."""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Raises ValueError: a field is missing or wrong."""
        return cls(
            app=_name(document, "app", least=1),
            pid=None if document.get("pid") is None else _whole(document, "pid"),
            worker=_name(document, "worker"),
            kind=_name(document, "kind"),
            beat_ms=_whole(document, "beat_ms", 1, MAX_BEAT_MS),
        )


class Snapshot(NamedTuple):
    """What the reporter's users do now."""

    seq: int
    """The number of this line; for people who read a recording."""
    req: int
    """Requests in flight."""
    ws: int
    """Websockets open."""
    total: int
    """Requests and websockets since the reporter started; 0 says that nobody has used it yet."""
    idle_ms: float
    """Age of the last activity in milliseconds: a request's begin or end, a websocket's message."""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Raises ValueError: a field is missing or wrong."""
        return cls(
            seq=_whole(document, "seq"),
            req=_whole(document, "req"),
            ws=_whole(document, "ws"),
            total=_whole(document, "total"),
            idle_ms=_age(document, "idle_ms"),
        )


def encode(report: Hello | Snapshot) -> bytes:
    """The report as one line with its newline."""
    kind = _HELLO if isinstance(report, Hello) else _SNAPSHOT
    return json.dumps({"v": VERSION, "t": kind, **report._asdict()}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Hello | Snapshot:
    """The report in this line. Fields that this version does not know are ignored.

    Raises:
        ValueError: it is none; the message says why, in words that are safe to log.
    """
    try:
        document = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - callers know one way for a line to be wrong
    if _whole(document, "v") != VERSION:
        raise ValueError(f'"v" must be {VERSION}')
    kind = document.get("t")
    if kind == _HELLO:
        return Hello.parse(document)
    if kind == _SNAPSHOT:
        return Snapshot.parse(document)
    raise ValueError(f'"t" must be "{_HELLO}" or "{_SNAPSHOT}"')


def _whole(document: Mapping[str, Any], key: str, least: int = 0, most: int = 2**63 - 1) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f'"{key}" must be a whole number from {least} to {most}')
    return value


def _age(document: Mapping[str, Any], key: str) -> float:
    value = document.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f'"{key}" must be a number from 0')
    return value


def _name(document: Mapping[str, Any], key: str, least: int = 0) -> str:
    value = document.get(key, "")
    if not isinstance(value, str) or not least <= len(value) <= MAX_NAME or not value.isprintable():
        raise ValueError(f'"{key}" must be {least} to {MAX_NAME} printable characters')
    return value
