"""A TCP connection between a host and a service that a test can cut: nothing comes through, and nobody is told."""

import socket
import threading
from contextlib import suppress

CHUNK = 65_536


class Wire:
    """Listens on a loopback port of its own, and passes everything on to ``target``, a host and port."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        """Its host and port, for the client."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Let nothing through, in either direction."""
        self._open.clear()

    def mend(self) -> None:
        """Let everything through again, what has waited first."""
        self._open.set()

    def close(self) -> None:
        self._open.set()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                near, _ = self._listener.accept()
                host, _, port = self._target.rpartition(":")
                try:
                    far = socket.create_connection((host, int(port)))
                except OSError:  # nobody listens there for now
                    near.close()
                    continue
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # one of the two is closed
            while data := source.recv(CHUNK):
                self._open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
