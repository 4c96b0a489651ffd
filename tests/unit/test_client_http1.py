"""HTTP as the client speaks it, byte by byte over a pair of sockets."""

import socket
import threading
from collections.abc import Iterator

import pytest

from buttermilkd.client.http1 import BadAnswerError, Body, Response, send


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        theirs.settimeout(20)
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def received(ends: Ends, body: Body | None, headers: dict[str, str] | None = None) -> bytes:
    ours, theirs = ends
    send(ours, "POST", "/v1/x", headers or {}, body)
    ours.shutdown(socket.SHUT_WR)
    with theirs.makefile("rb") as file:
        return file.read()


def answered(ends: Ends, answer: bytes) -> Response:
    ours, theirs = ends
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    return Response(ours)


def test_bytes_are_sent_with_their_length(ends: Ends) -> None:
    head, _, body = received(ends, b"{}", {"Accept": "a/b"}).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /v1/x HTTP/1.1",
        b"Host: buttermilkd",
        b"Accept-Encoding: identity",
        b"Accept: a/b",
        b"Content-Length: 2",
    ]
    assert body == b"{}"


def test_what_is_not_bytes_is_sent_in_chunks_of_which_an_empty_one_does_not_end_it(ends: Ends) -> None:
    head, _, body = received(ends, iter([b"one", b"", b"t" * 17])).partition(b"\r\n\r\n")
    assert head.endswith(b"Transfer-Encoding: chunked")
    assert body == b"3\r\none\r\n11\r\n" + b"t" * 17 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b"])
def test_a_header_that_would_add_another_one_is_refused(ends: Ends, value: str) -> None:
    with pytest.raises(ValueError, match="one line each"):
        send(ends[0], "GET", "/", {"Idempotency-Key": value}, None)


@pytest.mark.parametrize("target", ["/ HTTP/1.1", "/\r\n"])
def test_a_path_that_would_end_the_request_line_is_refused(ends: Ends, target: str) -> None:
    with pytest.raises(ValueError, match="one line each"):
        send(ends[0], "GET", target, {}, None)


def test_a_server_that_refuses_before_it_has_read_everything_is_heard(ends: Ends) -> None:
    ours, theirs = ends

    def refuse() -> None:
        theirs.recv(1_000)
        theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        theirs.shutdown(socket.SHUT_RDWR)

    server = threading.Thread(target=refuse)
    server.start()
    send(ours, "POST", "/", {}, (b"x" * 65_536 for _ in range(100)))
    server.join()
    with Response(ours) as response:
        assert (response.status, response.read()) == (413, b"big")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", b""),
        (
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: x\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_a_body_is_read_to_its_end_however_that_is_told(ends: Ends, answer: bytes, body: bytes) -> None:
    with answered(ends, answer) as response:
        assert response.status in (200, 204)
        assert response.read() == body
        assert response.read() == b""


def test_a_body_is_given_as_it_arrives(ends: Ends) -> None:
    ours, theirs = ends
    theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
    with Response(ours) as response:
        assert response.read1(1_000) == b"one\n"
        theirs.sendall(b"4\r\ntwo\n\r\n0\r\n\r\n")
        assert response.read1(1_000) == b"two\n"
        assert response.read1(1_000) == b""


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed without an answer"),
        (b"hello\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000, "too long"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "too many headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", "no length"),
    ],
)
def test_what_is_no_whole_answer_is_refused_with_the_reason(ends: Ends, answer: bytes, why: str) -> None:
    with pytest.raises(BadAnswerError, match=why), answered(ends, answer) as response:
        response.read()
