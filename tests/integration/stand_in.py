"""A stand-in for the daemon: HTTP on a real Unix socket, with the answers that a test gives it."""

import json
import socketserver
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from buttermilkd.messages import BatchView, DeadLetterView, JobView


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to send back. A list is sent in chunks; ``cut`` ends the connection before the last of it."""

    body: Any = None
    status: int = 200
    content_type: str = "application/json"
    cut: bool = False


class Hang:
    """An answer that never comes: the connection stays open until the server ends."""


class HangUp:
    """No answer: the connection is closed."""


Reply = Answer | Hang | HangUp | Callable[[Request], Answer]


def problem(status: int, kind: str, detail: str, **more: Any) -> Answer:
    document = {
        "type": f"urn:buttermilkd:{kind}",
        "title": kind,
        "status": status,
        "detail": detail,
        "kind": kind,
    }
    return Answer(document | more, status, "application/problem+json")


@dataclass
class StandIn:
    """Answers by method and path; each route has its replies, the last of which stays."""

    socket: Path
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Event = field(default_factory=threading.Event)
    _server: "_Server | None" = None

    def on(self, route: str, *replies: Any) -> None:
        """Answer ``route``, such as ``GET /v1/status``; a reply that is no ``Reply`` is a JSON document."""
        kinds = (Answer, Hang, HangUp)
        self.replies[route] = [
            reply if isinstance(reply, kinds) or callable(reply) else Answer(reply) for reply in replies
        ]

    def reply_to(self, request: Request) -> Reply:
        self.requests.append(request)
        replies = self.replies.get(f"{request.method} {request.path}")
        if not replies:
            return problem(404, "not-found", f"cannot find {request.path}", hint="look elsewhere")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def start(self) -> None:
        self._server = _Server(str(self.socket), self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def stop(self) -> None:
        self.ended.set()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, path: str, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        super().__init__(path, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing is logged."""

    def address_string(self) -> str:
        return "local"

    def _answer(self) -> None:
        self.close_connection = True
        stand_in = cast(_Server, self.server).stand_in
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        request = Request(self.command, parts.path, query, dict(self.headers.items()), self._body())
        reply = stand_in.reply_to(request)
        if isinstance(reply, Hang):
            stand_in.hanging.set()
            stand_in.ended.wait()
        elif isinstance(reply, Answer):
            self._send(reply)
        elif not isinstance(reply, HangUp):
            self._send(reply(request))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        if not isinstance(answer.body, list):
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_header("Content-Length", str(len(body) + answer.cut))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in answer.body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not answer.cut:
            self.wfile.write(b"0\r\n\r\n")


def batch(**changes: Any) -> BatchView:
    """A batch in the middle of its work, with these changes."""
    view: dict[str, Any] = {
        "batch_id": "batch-1a2b3c4d",
        "flow": "summarise",
        "status": "running",
        "total": 1000,
        "pending": 598,
        "running": 2,
        "completed": 390,
        "failed": 10,
        "cancelled": 0,
        "created_at": "2026-11-24T00:00:00.000Z",
        "started_at": "2026-11-24T00:01:00.000Z",
        "ended_at": None,
        "eta_seconds": 600.0,
        "waiting_for": None,
        "seed": 17,
        "priority": 0,
        "concurrency": None,
        "error_policy": "continue",
        "duplicates": 3,
        "flow_version": "1cbe0c19da9a",
        "owner_uid": 1000,
        "queue": "local",
        "parameters": {"model": ["small", "large"]},
    }
    return cast(BatchView, view | changes)


def ended_batch(**changes: Any) -> BatchView:
    """A batch whose jobs have all been completed, with these changes."""
    end = {"status": "completed", "ended_at": "2026-11-24T00:11:00.000Z", "eta_seconds": None}
    return batch(**{**end, "pending": 0, "running": 0, "completed": 1000, "failed": 0, **changes})


def job(**changes: Any) -> JobView:
    """A job that failed, with these changes."""
    view: dict[str, Any] = {
        "job_id": "batch-1a2b3c4d.7",
        "batch_id": "batch-1a2b3c4d",
        "flow": "summarise",
        "record_id": "records/7.txt",
        "parameters": {"model": "small"},
        "status": "failed",
        "attempt": 4,
        "interruptions": 1,
        "deferrals": 0,
        "disturbances": 0,
        "due_at": None,
        "error": "exit status 3: no such model",
        "cause": "exit status 3: no such model",
        "result": None,
        "host": "study-1",
        "created_at": "2026-11-24T00:00:00.000Z",
        "started_at": "2026-11-24T00:01:00.000Z",
        "suspended_at": None,
        "ended_at": "2026-11-24T00:02:05.000Z",
    }
    return cast(JobView, view | changes)


def dead_job() -> DeadLetterView:
    """A job that failed for good."""
    return {
        "id": "batch-1a2b3c4d.7",
        "kind": "job",
        "at": "2026-11-24T00:02:05.000Z",
        "reason": "exit status 3: no such model",
        "batch_id": "batch-1a2b3c4d",
        "job_id": "batch-1a2b3c4d.7",
        "flow": "summarise",
        "record_id": "records/7.txt",
        "parameters": {"model": "small"},
        "attempt": 4,
        "error": "exit status 3: no such model\nat line 1",
        "message_id": None,
        "published_at": None,
        "size": None,
    }


def dead_message(data: bytes = b"{", attributes: dict[str, str] | None = None) -> DeadLetterView:
    """A message that cannot be read, as it is shown."""
    return {
        "id": "message-3",
        "kind": "message",
        "at": "2026-11-24T00:02:05.000Z",
        "reason": "it is not JSON: \x1b[2J",
        "batch_id": None,
        "job_id": None,
        "flow": None,
        "record_id": None,
        "parameters": None,
        "attempt": None,
        "error": None,
        "message_id": "1234",
        "published_at": "2026-11-24T00:02:04.000Z",
        "size": len(data),
        "attributes": attributes or {},
        "data": b64encode(data).decode(),
    }


CREATED = {
    "batch_id": "batch-1a2b3c4d",
    "flow": "summarise",
    "jobs": 1000,
    "records": 500,
    "variants": 2,
    "duplicates": 3,
    "seed": 17,
    "dry_run": False,
}

STATUS = {
    "version": "0.0.1",
    "pid": 811,
    "host": "study-1",
    "started_at": "2026-11-24T00:00:00.000Z",
    "idle": False,
    "state": "busy",
    "reasons": ["2 websockets open"],
    "sentence": "busy: 2 websockets open, last message 3 s ago",
    "paused": ["classify"],
    "concurrency": 2,
    "running": [
        {
            "job_id": "batch-1a2b3c4d.8",
            "batch_id": "batch-1a2b3c4d",
            "flow": "summarise",
            "record_id": "evil\x1b[2J\nname",
            "attempt": 1,
            "started_at": "2026-11-24T00:01:00.000Z",
            "pid": 900,
        }
    ],
    "queue": {"kind": "local", "trouble": None, "pending": 598, "running": 1},
    "reporters": [
        {
            "app": "api",
            "pid": 700,
            "worker": "w1",
            "kind": "asgi",
            "requests": 0,
            "websockets": 2,
            "total": 99,
            "idle_seconds": 3.0,
            "stale": False,
        }
    ],
}

FLOW = {
    "name": "summarise",
    "kind": "command",
    "runs": "python -m study.summarise",
    "can_run": True,
    "problem": None,
    "paused": False,
    "records": "records/*.txt",
    "concurrency": 2,
    "timeout_seconds": 1800.0,
    "max_retries": 3,
    "version": "1cbe0c19da9a",
    "pending": 598,
    "running": 2,
}

IDLE: dict[str, Any] = {
    "idle": False,
    "state": "busy",
    "since": "2026-11-24T00:00:00.000Z",
    "sentence": "busy: other processes use 62 % of CPU",
    "reasons": ["other processes use 62 % of CPU"],
    "cause": "cpu",
    "resume_at": "2026-11-24T00:01:00.000Z",
    "start_at": "2026-11-24T00:02:00.000Z",
    "signals": [
        {
            "name": "cpu",
            "state": "busy",
            "value": "62 %",
            "busy_at": "over 50 % for 10 s",
            "clear_at": "under 25 % for 30 s",
            "reason": "other processes use 62 % of CPU",
            "timer": "back for 12 s of 30 s",
        },
        {
            "name": "io pressure",
            "state": "missing",
            "value": "this kernel does not tell it",
            "busy_at": "over 10 %",
            "clear_at": "under 2 % for 30 s",
            "reason": None,
            "timer": None,
        },
    ],
    "protection": {
        "proven": False,
        "why": "the jobs' group has weight 100",
        "exposed": "the jobs' group has weight 100",
    },
    "running_jobs": [
        {"on_busy": "auto", "jobs": 0, "stance": "stop"},
        {"on_busy": "suspend", "jobs": 2, "stance": "stop"},
        {"on_busy": "finish", "jobs": 1, "stance": "go on"},
    ],
    "suspending": {"method": "signals", "why": "no group is delegated"},
}

HISTORY: dict[str, Any] = {
    "since": "2026-11-22T12:00:00.000Z",
    "until": "2026-11-24T12:00:00.000Z",
    "seconds": 1800.0,
    "harvested_share": 0.5,
    "suspensions": 3,
    "suspensions_per_hour": 6.0,
    "most_suspensions": 3,
    "shares": [
        {"state": "harvested", "cause": "harvested", "seconds": 900.0, "share": 0.5},
        {"state": "busy", "cause": "requests", "seconds": 900.0, "share": 0.5},
    ],
    "slices": [
        {
            "at": "2026-11-24T10:00:00.000Z",
            "state": "idle",
            "cause": "idle",
            "seconds": 900.0,
            "harvested_seconds": 900.0,
            "suspensions": 0,
        },
        {
            "at": "2026-11-24T10:30:00.000Z",
            "state": "busy",
            "cause": "requests",
            "seconds": 900.0,
            "harvested_seconds": 0.0,
            "suspensions": 3,
        },
    ],
}
