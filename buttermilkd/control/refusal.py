"""What a daemon that cannot start answers those who wait for it on a socket that systemd has opened.

They would hang otherwise, and since somebody waits, systemd would start the daemon again and again.
"""

import json
import socket
from contextlib import suppress

from buttermilkd.errors import ButtermilkError
from buttermilkd.messages import PROBLEM

PATIENCE = 0.2
"""Seconds for somebody who has connected to send the request; it is not looked at."""
_LARGEST = 65536


def refuse(listener: socket.socket, error: ButtermilkError) -> None:
    """Answer everybody who waits at ``listener`` with the error, and nobody who comes later."""
    text = answer(error)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # nobody waits any more
            return
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            with suppress(TimeoutError):
                connection.recv(_LARGEST)
            connection.sendall(text)


def answer(error: ButtermilkError) -> bytes:
    """The error as a whole HTTP response, after which the connection is closed."""
    body = json.dumps(error.problem()).encode()
    head = (
        f"HTTP/1.1 {error.http_status} {error.kind}\r\nContent-Type: {PROBLEM}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
