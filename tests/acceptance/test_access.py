"""Who may do what, and what a request may be: on a real daemon, by real other users."""

import grp
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from buttermilkd.control.access import Access
from buttermilkd.control.routes import ROUTES
from tests.acceptance.exposed import STATE, as_other, asked, exposed, results
from tests.acceptance.program import Daemon

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
    with exposed() as daemon:
        yield daemon


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
