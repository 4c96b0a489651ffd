"""Jobs and people on one machine: a reporter's word decides, and everything says why."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.program import IDLE_AT_ONCE, Daemon, until

HELLO = '[flows.hello]\ncommand = ["echo", "{record_id}"]'


@contextmanager
def reporter(path: Path) -> Iterator["Reporter"]:
    """A web server's end of the activity socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        yield Reporter(connection)


class Reporter:
    """Says what it is told, line by line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._seq = 0
        self._say(
            {
                "v": 1,
                "t": "hello",
                "app": "api",
                "pid": 811,
                "worker": "w1",
                "kind": "asgi",
                "beat_ms": 60_000,
            }
        )

    def snapshot(self, req: int, ws: int = 0, idle_ms: int = 0) -> None:
        self._seq += 1
        self._say(
            {"v": 1, "t": "s", "seq": self._seq, "req": req, "ws": ws, "total": self._seq, "idle_ms": idle_ms}
        )

    def _say(self, line: dict[str, object]) -> None:
        self._connection.sendall(json.dumps(line).encode() + b"\n")


def test_no_job_starts_while_a_request_is_in_flight_and_all_run_when_it_is_over_and_quiet(
    daemon: Daemon,
) -> None:
    daemon.write(HELLO, idle=IDLE_AT_ONCE.replace('quiet_for = "1s"', 'quiet_for = "4s"'))
    daemon.start()
    with reporter(daemon.activity) as web:
        web.snapshot(req=1)
        until(lambda: daemon.client.status()["state"] == "busy", "the gate's closing")
        batch = daemon.client.create("hello", records=["a", "b"]).batch_id
        status = daemon.client.status()
        assert "1 request in flight" in status["sentence"]
        assert status["reporters"][0]["app"] == "api"
        assert "1 request in flight" in (daemon.client.batch(batch)["waiting_for"] or "")
        assert daemon.client.batch(batch)["pending"] == 2
        web.snapshot(req=0)
        waiting = until(
            lambda: w if "in 1 s" in (w := daemon.client.batch(batch)["waiting_for"] or "") else None,
            "the cool-down",
        )
        assert waiting.startswith("last request")
        assert "start in" in waiting
        assert daemon.client.batch(batch)["pending"] == 2
        assert daemon.ended(batch)["completed"] == 2


def test_a_user_who_arrives_stops_the_next_start_and_not_what_shall_finish(daemon: Daemon) -> None:
    daemon.write(
        '[flows.wait]\ncommand = ["sh", "-c", "while ! [ -e go ]; do sleep 0.02; done"]\non_busy = "finish"',
        concurrency=1,
    )
    daemon.start()
    batch = daemon.client.create("wait", records=["a", "b"]).batch_id
    daemon.running(1)
    with reporter(daemon.activity) as web:
        web.snapshot(req=1)
        until(lambda: not daemon.client.status()["idle"], "the gate's closing")
        (daemon.folder / "go").touch()
        until(lambda: daemon.client.batch(batch)["completed"] == 1, "the first job's end")
        assert daemon.client.batch(batch)["pending"] == 1
        assert daemon.client.status()["running"] == []


def test_a_restarted_daemon_believes_how_long_ago_the_last_request_was(daemon: Daemon) -> None:
    daemon.write(HELLO)
    daemon.start()
    batch = daemon.client.create("hello", records=["a"]).batch_id
    with reporter(daemon.activity) as web:
        web.snapshot(req=0, idle_ms=3_600_000)
        assert daemon.ended(batch)["completed"] == 1
        assert "last request 60 min ago" in daemon.client.status()["sentence"]


def test_what_the_time_went_to_is_kept_over_a_restart(daemon: Daemon) -> None:
    daemon.write(HELLO)
    daemon.start()
    batch = daemon.client.create("hello", records=["a"]).batch_id
    assert daemon.ended(batch)["completed"] == 1
    before = until(
        lambda: h if (h := daemon.client.idle_history())["shares"] else None, "a history of some time"
    )
    assert daemon.stop() == 0
    daemon.start()
    after = daemon.client.idle_history(days=1)
    assert after["seconds"] >= before["seconds"] > 0
    assert {share["cause"] for share in before["shares"]} <= {share["cause"] for share in after["shares"]}
    assert "harvested" in daemon.ctl("idle", "--history").stdout


def test_a_recording_can_be_replayed_with_other_settings(daemon: Daemon) -> None:
    daemon.write(HELLO)
    trace = daemon.folder / "trace.jsonl"
    daemon.start("--record", str(trace))
    with reporter(daemon.activity) as web:
        web.snapshot(req=1)
        until(lambda: daemon.client.status()["state"] == "busy", "the gate's closing")
        web.snapshot(req=0)
        until(lambda: daemon.client.status()["idle"], "the gate's opening")
    assert daemon.stop() == 0
    shown = daemon.ctl("idle", "--replay", str(trace), "--set", "idle.quiet_for=1h")
    assert shown.returncode == 0, shown.stderr
    assert "as recorded" in shown.stdout
    assert "with idle.quiet_for=1h" in shown.stdout
    assert "jobs could run" in shown.stdout
    assert "jobs ran" not in shown.stdout
    assert "an hour" not in shown.stdout  # it is not that long
    document = daemon.ctl_json("idle", "--replay", str(trace), "--set", "idle.quiet_for=1h")
    assert document["as_recorded"]["harvested_share"] > 0
    assert "requests" in {share["cause"] for share in document["as_changed"]["shares"]}
    refused = daemon.ctl("idle", "--replay", str(trace), "--set", "idle.quiet_fro=1h")
    assert refused.returncode == 2
    assert 'did you mean "quiet_for"?' in refused.stderr
