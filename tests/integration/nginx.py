"""A real nginx, on a port of its own, in a folder of its own."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import need

_UNPACKED = Path(__file__).parents[2] / ".cache/nginx/usr/sbin/nginx"
_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /nginx_status {{ stub_status; }}
        location = /slow {{ proxy_pass http://127.0.0.1:{behind}; }}
        location = /moved {{ return 301 /nginx_status; }}
        location / {{ return 200 "hello"; }}
    }}
}}
"""


class Nginx:
    """One that runs."""

    def __init__(self, port: int, behind: socket.socket) -> None:
        self.port = port
        self.behind = behind
        """What ``/slow`` is passed on to: whoever asks for it waits until it answers."""

    @property
    def status(self) -> str:
        return f"http://127.0.0.1:{self.port}/nginx_status"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def get(self, path: str = "/") -> bytes:
        with self.connect() as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b"".join(iter(lambda: client.recv(65536), b""))


@contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    program = str(_UNPACKED) if _UNPACKED.exists() else shutil.which("nginx")
    need(program is not None, "nginx, which scripts/packages unpacks")
    assert program is not None
    with socket.socket() as behind:
        behind.bind(("127.0.0.1", 0))
        behind.listen()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, port=port, behind=behind.getsockname()[1]))
        arguments = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
        with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
            try:
                yield Nginx(port, behind)
            finally:
                process.kill()
