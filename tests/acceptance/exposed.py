"""A daemon with a secret in each place that has secrets, and other users who ask it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from buttermilkd.messages import BatchView
from tests.acceptance.conftest import daemon_of_its_own
from tests.acceptance.program import Daemon

SECRETS = {
    "configuration": "canary-of-the-configuration-7d1c",
    "environment": "canary-of-the-environment-93fa",
    "key file": "canary-of-a-key-file-51be",
    "variable": "canary-of-a-variable-e0a2",
    "credentials": "canary-of-credentials-c4d8",
}
SEE = """
import json, os, sys
links = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}
seen = {
    "names": sorted(os.environ),
    "descriptors": links,
    "has secrets": [len(os.environ.get(name, "")) for name in ("TOKEN", "KEY", "OVERRIDDEN")],
}
open(os.environ["BUTTERMILK_RESULT"], "w").write(json.dumps(seen))
"""
SHOW = """{ printf '"'
printf '%s\\0' "$@" "$BUTTERMILK_RECORD_ID" "$BUTTERMILK_RESULT" | od -An -v -tx1 | tr -d ' \\n'
printf '"'
} > "$BUTTERMILK_RESULT"
"""
WORK = """
import os

def see(job):
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return {"names": sorted(os.environ), "descriptors": links}
"""
FLOWS = f"""
[control]
socket_mode = "0666"
admin_groups = ["daemon"]

[flows.see]
command = [{json.dumps(sys.executable)}, "-I", "see.py"]
env = {{ TOKEN = "{SECRETS["configuration"]}" }}
env_files = {{ KEY = "key.txt" }}

[flows.shell]
command = ["sh", "show.sh", "{{record_id}}", "--of={{record_id}}", "{{param:p}}"]
parameters = {{ p = "$(touch pwned)" }}

[flows.call]
entrypoint = "work:see"

[flows.listed]
command = ["true"]
records_command = ["sh", "-c", "env | cut -d= -f1"]
"""
STATE = "deep/state"


@contextmanager
def exposed() -> Iterator[Daemon]:
    """Started under the laxest mask, with a secret in each place that has secrets, and heard by a manager."""
    with daemon_of_its_own() as daemon, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        daemon.folder.chmod(0o755)
        for name, text in (
            ("see.py", SEE),
            ("show.sh", SHOW),
            ("work.py", WORK),
            ("key.txt", SECRETS["key file"] + "\n"),
        ):
            (daemon.folder / name).write_text(text)
        credentials = daemon.folder / "credentials.json"
        credentials.write_text(json.dumps({"private_key": SECRETS["credentials"]}))
        manager.bind(str(daemon.folder / "notify"))
        daemon.write(FLOWS, concurrency=1)
        daemon.config.write_text(daemon.config.read_text().replace('"state"', f'"{STATE}"'))
        daemon.umask = 0
        daemon.variables = {
            "BUTTERMILKD_FLOWS__SEE__ENV__OVERRIDDEN": SECRETS["variable"],
            "SECRET_OF_ANOTHER_SERVICE": SECRETS["environment"],
            "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
            "CREDENTIALS_DIRECTORY": str(daemon.folder),
            "NOTIFY_SOCKET": str(daemon.folder / "notify"),
        }
        daemon.start()
        told = daemon.folder / "told"
        yield daemon
        assert daemon.stop() == 0
        manager.setblocking(False)
        with told.open("wb") as file:
            while True:
                try:
                    file.write(manager.recv(65536) + b"\n")
                except BlockingIOError:
                    break
        text = told.read_text()
        assert "STATUS=" in text
        assert not [place for place, secret in SECRETS.items() if secret in text]


def results(daemon: Daemon, flow: str, records: list[str]) -> dict[str, Any]:
    """What each record's job has left."""
    batch = daemon.client.create(flow, records=records).batch_id
    view: BatchView = daemon.ended(batch)
    assert (view["completed"], view["failed"]) == (len(records), 0), daemon.jobs(batch)
    return {job["record_id"]: daemon.client.job(job["job_id"])["result"] for job in daemon.jobs(batch)}


def as_other(code: str, *arguments: str, uid: int = 65534, gid: int = 65534) -> Any:
    """What this code prints as JSON when another user runs it."""
    # It becomes the other only then: the interpreter may lie where others cannot go.
    become = f"import os; os.setgroups([]); os.setgid({gid}); os.setuid({uid})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", ASK + become + code, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ASK = """
import http.client, json, os, socket, sys
def ask(path, method, route, body=None, headers={}):
    connection = http.client.HTTPConnection("b")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request(method, route, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text
"""


def asked(daemon: Daemon, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    scope: dict[str, Any] = {}
    exec(ASK, scope)
    status, text = scope["ask"](str(daemon.control), method, path, body)
    return status, text
