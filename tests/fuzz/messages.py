"""Messages as nobody should send them: good ones and those that once did harm, changed at random.

All chance comes from the ``Random`` that is handed in: Hypothesis', which shrinks what it finds, or a seeded one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

CORPUS = Path(__file__).with_name("corpus")

HELLO = b'{"v":1,"t":"hello","app":"api","pid":811,"worker":"w1","kind":"asgi","beat_ms":1000}\n'
SNAPSHOT = b'{"v":1,"t":"s","seq":42,"req":3,"ws":2,"total":9913,"idle_ms":0}\n'
LINES = (HELLO, SNAPSHOT, HELLO + SNAPSHOT, SNAPSHOT.replace(b'"req":3', b'"req":0'))

_CREATE = {"flow": "hello", "records": ["a", "b"], "parameters": {"m": [1, "x"]}, "dry_run": True}
BODIES = (
    json.dumps(_CREATE).encode(),
    b'{"flow": "hello", "dry_run": true}\n"a"\n"b"\n',
    b'{"flow": "hello"}',
    b'{"ids": ["batch-1.1"]}',
    b'{"now": true}',
    b"",
)
PATHS = (
    *(
        b"/v1/info",
        b"/v1/status",
        b"/v1/idle",
        b"/v1/idle/history?days=2",
        b"/v1/flows",
        b"/v1/resolve?prefix=b",
    ),
    *(b"/v1/events?since=0", b"/v1/batches?all=1&limit=5&status=failed&cursor=9", b"/v1/batches/none?wait=0"),
    *(
        b"/v1/batches/none/jobs?limit=2",
        b"/v1/batches/none/results",
        b"/v1/batches/none/log",
        b"/v1/jobs/none.1",
    ),
    *(
        b"/v1/jobs/none.1/log",
        b"/v1/dead?flow=x",
        b"/v1/dead/none.1",
        b"/v1/batches",
        b"/v1/pause",
        b"/v1/resume",
    ),
    *(b"/v1/batches/none/cancel", b"/v1/batches/none/retry", b"/v1/jobs/none.1/cancel", b"/v1/dead/drop"),
)
METHODS = (
    b"GET",
    b"POST",
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"CONNECT",
    b"PRI",
    b"g\x00t",
)
HEADERS = (
    *(b"Content-Type: application/json", b"Content-Type: application/x-ndjson", b"Content-Type: ;;/=\xff"),
    *(b"Idempotency-Key: k", b"Idempotency-Key: \xff\xfe", b"Idempotency-Key: " + b"k" * 300),
    *(
        b"Content-Encoding: gzip",
        b"Content-Encoding: deflate",
        b"Transfer-Encoding: chunked",
        b"Upgrade: websocket",
    ),
    *(b"Expect: 100-continue", b"Expect: nothing", b"Content-Length: -1", b"Content-Length: 9" + b"9" * 30),
    *(
        b"Connection: close",
        b"Connection: upgrade",
        b"Cookie: a=\x7f",
        b"X: " + b"y" * 9000,
        b"Range: bytes=0-1",
    ),
)
TOKENS = (
    *(
        b"\x00",
        b"\n",
        b"\r\n",
        b"\xff",
        b"\xed\xa0\x80",
        b"%00",
        b"%0a",
        b"%ed%a0%80",
        b"../",
        b"{",
        b"}",
        b"[",
        b'"',
    ),
    *(
        b"-1",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"9" * 30,
        b"9" * 5000,
        b"null",
        b"true",
        b"\\ud800",
        b"\\u0000",
        b"[" * 200,
    ),
    *(
        b"\xf0\x9f\xa7\x88",
        b"\xe2\x80\xae",
        b" " * 5000,
        b'{"":' * 60,
        b":",
        b",",
        b"'; DROP TABLE jobs; --",
        b"%s%n",
    ),
)


def corpus(kind: str) -> tuple[bytes, ...]:
    """What is kept of this kind: each did harm once, or shows the shape of something that might."""
    return tuple(file.read_bytes() for file in sorted((CORPUS / kind).iterdir()))


def _flip(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _drop(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.randrange(1, 9) :]


def _insert(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(TOKENS) + data[at:]


def _double(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at : at + 40] * chance.randrange(2, 5) + data[at + 40 :]


def _swap_number(data: bytes, chance: Random) -> bytes:
    numbers = [at for at, octet in enumerate(data) if octet in b"0123456789"]
    if not numbers:
        return _insert(data, chance)
    at = chance.choice(numbers)
    return (
        data[:at]
        + chance.choice((b"-1", b"1e999", b"9" * 25, b"0.5", b"null", b'"1"', b"[]"))
        + data[at + 1 :]
    )


CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _drop, _insert, _double, _swap_number)


def changed(data: bytes, chance: Random, most: int = 3) -> bytes:
    """The same with up to so many changes; now and then with none."""
    for _ in range(chance.randrange(most + 1)):
        data = chance.choice(CHANGES)(data, chance) if data else chance.choice(TOKENS)
    return data


def line(chance: Random) -> bytes:
    """Something for the activity socket."""
    return changed(chance.choice(LINES + corpus_of_lines), chance)


def request(chance: Random) -> bytes:
    """Something for the control socket."""
    if corpus_of_requests and chance.random() < 0.1:
        return changed(chance.choice(corpus_of_requests), chance)
    body = changed(chance.choice(BODIES), chance, 2)
    headers = [chance.choice(HEADERS) for _ in range(chance.randrange(3))]
    length = len(body) + (chance.choice((-1, 1, 1000)) if chance.random() < 0.05 else 0)
    headers.append(b"Content-Length: %d" % length)
    if b"Transfer-Encoding: chunked" in headers:
        headers.pop()
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    path = changed(chance.choice(PATHS), chance, 1)
    head = b"%s %s HTTP/1.1\r\nHost: b\r\n%s\r\n\r\n" % (chance.choice(METHODS), path, b"\r\n".join(headers))
    return changed(head, chance, 1) + body


corpus_of_lines = corpus("activity")
corpus_of_requests = corpus("control")
corpus_of_messages = corpus("topics")


def topic_message(chance: Random) -> bytes:
    """Something for the topics of a shared queue."""
    return changed(chance.choice(corpus_of_messages), chance)
