"""What nobody may do, what no job may see, and what may stand nowhere: on a real daemon, by real other users."""

import grp
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buttermilkd.control.access import Access
from buttermilkd.control.routes import ROUTES
from buttermilkd.messages import BatchView
from tests.acceptance.conftest import daemon_of_its_own
from tests.acceptance.program import Daemon, until

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
NOT_FOR_JOBS = (
    "BUTTERMILKD_",
    "LISTEN_",
    "WATCHDOG_",
    "NOTIFY_SOCKET",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CREDENTIALS_",
)
TRICKS = (
    *(
        "../../etc/passwd",
        "..",
        "--help",
        "$(touch pwned)`touch pwned`; touch pwned && x | y > pwned",
        " ~root * ? ",
    ),
    *(
        "a\nb\r\nc\t\x7f\x1b[2J",
        "%s%n%00{param:p}{record_id}'\"\\",
        "\u202egpj\ufeff\U0001f469\u200d\U0001f467",
        "x" * 4096,
    ),
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture(scope="module")
def running() -> Iterator[Daemon]:
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


@needs_root
def test_another_user_may_read_every_route_that_reads_and_change_nothing_by_any_other(
    running: Daemon,
) -> None:
    running.client.pause()
    batch = running.client.create("shell", records=["a"]).batch_id
    before = running.client.batch(batch)
    named = {"{batch}": batch, "{job}": f"{batch}.1", "{letter}": "none"}
    asked = []
    for route in ROUTES:
        path = route.path
        for name, value in named.items():
            path = path.replace(name, value)
        asked.append((route.method, path))
    code = "print(json.dumps([ask(sys.argv[1], m, p, '{}' if m == 'POST' else None)[0] for m, p in json.loads(sys.argv[2])]))"
    answers = as_other(code, str(running.control), json.dumps(asked))
    for route, status in zip(ROUTES, answers, strict=True):
        fine = {403} if route.access is Access.CHANGE else {200, 404}
        assert status in fine, (route.method, route.path)
    assert running.client.batch(batch) == before
    assert running.client.status()["paused"] == ["*"]
    running.client.cancel(batch)
    running.client.resume()


@needs_root
def test_who_is_refused_writes_no_line_of_its_own_into_the_log(running: Daemon) -> None:
    path = "/v1/jobs/a%0A12:00:00%20INFO%20forged/cancel"
    code = "print(json.dumps(ask(sys.argv[1], 'POST', sys.argv[2], '{}')[0]))"
    assert as_other(code, str(running.control), path) == 403
    assert path in running.log.read_text()
    assert "\n12:00:00 INFO" not in running.log.read_text()


@needs_root
def test_members_of_an_admin_group_may_change_things_and_nobody_is_given_anothers_answer(
    running: Daemon,
) -> None:
    daemons = grp.getgrnam("daemon").gr_gid
    running.client.pause()
    code = """
body = json.dumps({"flow": "shell", "records": [sys.argv[2]]})
print(json.dumps(ask(sys.argv[1], "POST", "/v1/batches", body, {"Idempotency-Key": "k"})))
"""
    as_root = running.client.create("shell", records=["of root"], idempotency_key="k").batch_id
    status, answer = as_other(code, str(running.control), "of another", gid=daemons)
    assert status == 201
    assert json.loads(answer)["batch_id"] != as_root
    status, _ = as_other(code, str(running.control), "of a third", uid=65533)
    assert status == 403
    for batch in (as_root, json.loads(answer)["batch_id"]):
        running.client.cancel(batch)
    running.client.resume()


@needs_root
def test_whom_the_sockets_mode_keeps_out_cannot_connect(running: Daemon) -> None:
    running.control.chmod(0o660)
    try:
        code = """
try: print(json.dumps(ask(sys.argv[1], "GET", "/v1/info")))
except PermissionError as error: print(json.dumps(str(error)))
"""
        assert "Permission denied" in as_other(code, str(running.control))
    finally:
        running.control.chmod(0o666)


def test_a_record_id_is_one_argument_and_one_variable_whatever_it_says(running: Daemon) -> None:
    before = sorted(running.folder.iterdir())
    seen = results(running, "shell", list(TRICKS))
    for record in TRICKS:
        *shown, result, _ = bytes.fromhex(seen[record]).decode().split("\0")
        assert shown == [record, f"--of={record}", "$(touch pwned)", record]
        assert Path(result).parent == running.folder / STATE / "scratch"
    assert sorted(running.folder.iterdir()) == before


@pytest.mark.parametrize(
    "batch",
    [
        "../x",
        "a/b",
        "",
        ".",
        "..",
        "a" * 65,
        "a\n",
        "a\0",
        "%2e%2e",
        "a b",
        "\uff0e",
        "\u0430\u202e",
        "-" * 65,
    ],
)
def test_a_batch_id_that_could_be_anything_else_is_refused(running: Daemon, batch: str) -> None:
    body = json.dumps({"flow": "shell", "records": ["a"], "batch_id": batch, "dry_run": True})
    assert asked(running, "POST", "/v1/batches", body)[0] == 400


@pytest.mark.parametrize("flow", ["../see", "see/../see", "see\0", "SEE", "", "see\n", "\u017fee"])
def test_a_flow_is_found_by_its_own_name_only(running: Daemon, flow: str) -> None:
    body = json.dumps({"flow": flow, "records": ["a"], "dry_run": True})
    assert asked(running, "POST", "/v1/batches", body)[0] == 404


def asked(daemon: Daemon, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    scope: dict[str, Any] = {}
    exec(ASK, scope)
    status, text = scope["ask"](str(daemon.control), method, path, body)
    return status, text


def test_no_job_inherits_the_daemons_secrets_or_descriptors(running: Daemon) -> None:
    (seen,) = results(running, "see", ["a"]).values()
    (called,) = results(running, "call", ["a"]).values()
    assert seen["has secrets"] == [len(SECRETS[name]) for name in ("configuration", "key file", "variable")]
    assert sorted(seen["descriptors"]) == ["0", "1", "2"]
    table = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    ours = {f"socket:[{row[6]}]" for row in table if len(row) > 7 and row[7].startswith(str(running.folder))}
    for one in (seen, called):
        assert [name for name in one["names"] if name.startswith(NOT_FOR_JOBS)] == []
        links = set(one["descriptors"].values())
        assert not links & ours
        assert not [link for link in links if link.startswith(str(running.folder / STATE))]
    assert "TOKEN" not in called["names"], "what is one flow's is no other's"


def test_what_lists_records_inherits_no_more_than_a_job(running: Daemon) -> None:
    running.client.pause("listed")
    batch = running.client.create("listed").batch_id
    names = [job["record_id"] for job in running.jobs(batch)]
    running.client.cancel(batch)
    assert "PATH" in names
    assert [name for name in names if name.startswith(NOT_FOR_JOBS)] == []


def test_nothing_that_it_makes_is_open_to_others_even_under_the_laxest_mask(running: Daemon) -> None:
    results(running, "see", ["a"])
    found = {}
    for place in (Path(STATE).parts[0], "run"):
        for path in (running.folder / place, *(running.folder / place).rglob("*")):
            mode = path.lstat().st_mode
            found[str(path.relative_to(running.folder))] = mode
    assert {
        f"{STATE}/{name}" for name in ("ledger.sqlite3", "ledger.sqlite3-wal", "lock", "scratch")
    } <= found.keys()
    open_on_purpose = {"run": 0o755, "run/activity.sock": 0o666, "run/control.sock": 0o666}
    for name, mode in found.items():
        most = open_on_purpose.get(name, 0o750 if stat.S_ISDIR(mode) else 0o640)
        assert stat.S_IMODE(mode) & ~most == 0, f"{name} is {stat.S_IMODE(mode):o}"


def test_no_secret_stands_where_people_or_programs_read(running: Daemon) -> None:
    results(running, "see", ["a", "b"])
    results(running, "call", ["a"])
    batches = running.client.batches(include_ended=True)["batches"]
    places = {"log": running.log.read_bytes()}
    for file in (running.folder / STATE).rglob("*"):
        if file.is_file():
            places[str(file)] = file.read_bytes()
    for path in ("status", "idle", "flows", "events", "batches?all=1", "dead", "idle/history", "info"):
        places[path] = asked(running, "GET", f"/v1/{path}")[1].encode()
    for batch in batches:
        for part in ("", "/jobs", "/results", "/log"):
            places[f"{batch['batch_id']}{part}"] = asked(
                running, "GET", f"/v1/batches/{batch['batch_id']}{part}"
            )[1].encode()
    for command in (("doctor",), ("flows",), ("status",), ("doctor", "--json"), ("flows", "--json")):
        done = running.ctl(*command)
        places[f"ctl {' '.join(command)}"] = (done.stdout + done.stderr).encode()
    manual = subprocess.run(
        [sys.executable, "-m", "buttermilkd.manual", "buttermilkd.8"],
        capture_output=True,
        env=running.environment,
        check=True,
    )
    places["manual"] = manual.stdout
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            places[str(process)] = process.read_bytes()
        except OSError:
            continue
    assert [
        (place, of)
        for place, text in places.items()
        for of, secret in SECRETS.items()
        if secret.encode() in text
    ] == []


def test_a_mistake_beside_a_secret_is_explained_without_it(running: Daemon) -> None:
    good = running.config.read_text()
    running.config.write_text(
        good + f'\n[flows.bad]\ncommand = ["true"]\nenv = {{ T = ["{SECRETS["configuration"]}"] }}\n'
    )
    try:
        status, text = asked(running, "POST", "/v1/reload", "{}")
        assert status == 422
        assert SECRETS["configuration"] not in text
        assert SECRETS["configuration"] not in running.log.read_text()
    finally:
        running.config.write_text(good)
        assert until(lambda: asked(running, "POST", "/v1/reload", "{}")[0] == 200, "a good reload")
