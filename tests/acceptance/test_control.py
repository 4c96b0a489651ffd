"""The control API and the CLI against a running daemon."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from buttermilkd.client import Client
from buttermilkd.errors import ConflictError
from tests.acceptance.program import Daemon, until

FLOWS = """
[flows.echo]
command = ["sh", "-c", "echo to stderr >&2; echo '{\\"length\\": 3}'"]
parameters = { model = ["small", "large"] }

[flows.fails]
command = ["sh", "-c", "echo no such thing >&2; exit 3"]
max_retries = 1
backoff = "10ms"

[flows.long]
command = ["sleep", "4321"]

[flows.stubborn]
command = ["sh", "-c", "trap '' TERM; touch trapped; while true; do sleep 0.05; done"]
grace = "100ms"

[flows.fast]
entrypoint = "work:fast"

[flows.talk]
command = ["sh", "-c", "echo first; while ! [ -e go ]; do sleep 0.02; done; echo last"]

[flows.listed]
command = ["true"]
records = "texts/*.txt"

[flows.missing]
command = ["no-such-program-anywhere"]
"""


@pytest.fixture
def running(daemon: Daemon) -> Daemon:
    daemon.write(FLOWS)
    (daemon.folder / "work.py").write_text("def fast(job):\n    return {'n': len(job.record_id)}\n")
    (daemon.folder / "texts").mkdir()
    for name in ("a", "b", "c"):
        (daemon.folder / "texts" / f"{name}.txt").write_text(name)
    daemon.start()
    return daemon


def test_a_batch_from_standard_input_to_its_results(running: Daemon) -> None:
    created = running.ctl_json(
        "create", "echo", "--records", "-", "--seed", "7", "--shuffle", stdin="x\ny\nx\n"
    )
    assert (created["jobs"], created["duplicates"], created["seed"]) == (4, 1, 7)
    batch = created["batch_id"]
    view = running.ended(batch)
    assert (view["status"], view["completed"], view["seed"]) == ("completed", 4, 7)
    assert running.ctl_json("status", batch)["completed"] == 4
    jobs = running.ctl_json("jobs", batch)["jobs"]
    assert {(job["record_id"], job["parameters"]["model"]) for job in jobs} == {
        (record, model) for record in "xy" for model in ("small", "large")
    }
    results = [json.loads(line) for line in running.ctl("results", batch).stdout.splitlines()]
    assert [result["result"] for result in results] == [{"length": 3}] * 4
    assert running.ctl("results", batch, "--format", "csv").stdout.count("\n") == 5
    assert "to stderr" in running.ctl("logs", f"{batch}.1").stdout
    assert running.ctl("logs", batch).stdout.count("to stderr") == 4
    assert [item["batch_id"] for item in running.ctl_json("list", "--all")["batches"]] == [batch]
    assert running.ctl_json("list")["batches"] == []


def test_a_shuffle_with_the_same_seed_is_the_same_order(running: Daemon) -> None:
    records = [str(n) for n in range(20)]
    running.client.pause()
    orders = []
    for _ in range(2):
        batch = running.client.create("fast", records=records, shuffle=True, seed=5).batch_id
        orders.append([job["record_id"] for job in running.jobs(batch)])
    assert orders[0] == orders[1] != records
    assert sorted(orders[0]) == sorted(records)


def test_failures_are_retried_and_grouped_by_cause_and_can_be_run_again(running: Daemon) -> None:
    waited = running.ctl("create", "fails", "-r", "a", "-r", "b", "--wait", "--json")
    assert waited.returncode == 6
    batch = json.loads(waited.stdout)["batch_id"]
    view = running.client.batch(batch)
    assert (view["status"], view["failed"]) == ("failed", 2)
    assert view["causes"] == [{"cause": "exit status 3: no such thing", "jobs": 2}]
    job = running.client.job(f"{batch}.1")
    assert (job["attempt"], job["status"]) == (2, "failed")
    assert running.ctl_json("retry", batch, "--failed")
    assert running.ended(batch)["failed"] == 2


def test_cancelling_answers_with_a_receipt(running: Daemon) -> None:
    batch = running.client.create("long", records=[str(n) for n in range(50)]).batch_id
    running.running(2)
    receipt = running.client.cancel(batch)
    assert receipt["summary"] == "48 dropped, 2 stopped, 0 already ended"
    assert running.client.batch(batch)["status"] == "cancelled"
    again = running.ctl("cancel", batch)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: cannot cancel {batch}: it has ended")


def test_what_ignores_sigterm_is_killed_after_its_grace(running: Daemon) -> None:
    batch = running.client.create("stubborn", records=["a"]).batch_id
    until((running.folder / "trapped").exists, "the trap")
    receipt = running.client.cancel(f"{batch}.1")
    assert (receipt["stopped"], receipt["killed"]) == (1, 1)
    assert running.client.job(f"{batch}.1")["status"] == "cancelled"


def test_one_waiting_job_can_be_cancelled_and_retried(running: Daemon) -> None:
    running.client.pause("fast")
    batch = running.client.create("fast", records=["a", "b"]).batch_id
    assert running.client.cancel(f"{batch}.2")["dropped"] == 1
    with pytest.raises(ConflictError, match="cannot cancel a job that is cancelled"):
        running.client.cancel(f"{batch}.2")
    running.client.resume("fast")
    assert running.ended(batch)["cancelled"] == 1
    assert running.client.retry(f"{batch}.2")["requeued"] == 1
    assert running.ended(batch)["completed"] == 2


def test_a_pause_says_so_everywhere_and_outlives_a_crash(running: Daemon) -> None:
    assert running.ctl("pause").returncode == 0
    running.kill()
    running.start()
    batch = running.client.create("fast", records=["a"]).batch_id
    status = running.client.status()
    assert (status["state"], status["paused"]) == ("held", ["*"])
    assert running.client.batch(batch)["waiting_for"] == "all flows are paused"
    assert running.ctl("resume").returncode == 0
    assert running.ended(batch)["completed"] == 1


def test_a_log_can_be_followed_while_the_job_prints(running: Daemon) -> None:
    batch = running.client.create("talk", records=["a"]).batch_id
    pieces = running.client.log(f"{batch}.1", follow=True)
    assert next(pieces) == b"first\n"
    (running.folder / "go").touch()
    assert b"".join(pieces) == b"last\n"


def test_the_flows_own_records_are_used_where_none_are_given(running: Daemon) -> None:
    batch = running.client.create("listed").batch_id
    assert sorted(job["record_id"] for job in running.jobs(batch)) == [
        "texts/a.txt",
        "texts/b.txt",
        "texts/c.txt",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("create", "ecko", "-r", "a"), 5, 'did you mean "echo"'),
        (("create", "missing", "-r", "a"), 78, "no-such-program-anywhere"),
        (("create", "fast", "--records", "-"), 2, "no record"),
        (("create", "fast", "-r", "a", "--id", "a/b"), 2, "batch id"),
        (("status", "batch-00000000"), 5, "cannot find batch"),
        (("jobs", "batch-00000000"), 5, "cannot find batch"),
        (("create", "fast"), 78, "no source of its own"),
    ],
)
def test_a_mistake_is_explained_in_two_lines_with_its_exit_code(
    running: Daemon, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = running.ctl(*arguments, stdin="")
    assert (done.returncode, done.stdout) == (status, "")
    first, second, *rest = done.stderr.splitlines()
    assert first.startswith("error: cannot ")
    assert second.startswith("hint: ")
    assert not rest
    assert words in done.stderr


def test_without_a_daemon_the_cli_says_so_with_exit_code_3(daemon: Daemon) -> None:
    done = daemon.ctl("status")
    assert done.returncode == 3
    assert "hint: " in done.stderr


def test_curl_can_ask_too(running: Daemon) -> None:
    curl = ["curl", "--silent", "--unix-socket", str(running.control)]
    done = subprocess.run([*curl, "http://buttermilkd/v1/status"], capture_output=True, check=True)
    assert json.loads(done.stdout)["queue"]["kind"] == "local"
    done = subprocess.run([*curl, "http://buttermilkd/v1/batches/none"], capture_output=True, check=True)
    problem = json.loads(done.stdout)
    assert (problem["status"], problem["kind"]) == (404, "not-found")
    done = subprocess.run(
        [*curl, "-X", "PUT", "http://buttermilkd/v1/batches"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["status"] == 405


def test_the_same_idempotency_key_makes_one_batch(running: Daemon) -> None:
    running.client.pause()
    first = running.client.create("fast", records=["a"], idempotency_key="k1")
    second = running.client.create("fast", records=["a"], idempotency_key="k1")
    assert first.batch_id == second.batch_id
    with pytest.raises(ConflictError, match="used for another request"):
        running.client.create("fast", records=["b"], idempotency_key="k1")
    assert len(running.client.batches()["batches"]) == 1


def test_a_dry_run_checks_everything_and_creates_nothing(running: Daemon) -> None:
    created = running.ctl_json("create", "echo", "-r", "a", "--dry-run")
    assert (created["jobs"], created["dry_run"]) == (2, True)
    assert running.client.batches(include_ended=True)["batches"] == []


def test_events_tell_a_batchs_story(running: Daemon) -> None:
    batch = running.client.create("fast", records=["a"]).batch_id
    running.ended(batch)
    kinds = [event["kind"] for event in running.client.events() if event["batch_id"] == batch]
    assert kinds == ["batch.created", "batch.started", "batch.ended"]


def test_a_bad_configuration_is_reported_whole_with_exit_code_78(daemon: Daemon) -> None:
    daemon.config.write_text("[daemon]\nconcurency = 2\n[idle]\nquiet_for = 3\n")
    done = daemon.launch("--check-config")
    assert done.wait(30) == 78
    text = daemon.log.read_text()
    assert f"{daemon.config}:2: daemon.concurency: " in text
    assert 'did you mean "concurrency"?' in text
    assert f"{daemon.config}:4: idle.quiet_for: " in text
    assert text.splitlines()[2] == "error: cannot use the configuration: 2 problems"
    assert text.count("concurency") == text.count("quiet_for") == 1


def test_a_good_configuration_is_said_to_be_good(daemon: Daemon) -> None:
    daemon.write('[flows.one]\ncommand = ["true"]')
    assert daemon.launch("--check-config").wait(30) == 0
    assert daemon.log.read_text() == "configuration is good: 1 flow\n"


def test_a_million_records_are_created_in_one_call_and_answered_for_at_once(running: Daemon) -> None:
    running.client.pause()
    created = running.client.create("fast", records=(f"record {n}" for n in range(1_000_000)))
    view = running.client.batch(created.batch_id)
    assert (view["total"], view["pending"]) == (1_000_000, 1_000_000)
    assert running.process is not None
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 300 * 1024
    assert running.client.cancel(created.batch_id)["dropped"] == 1_000_000


def test_ten_thousand_calls_of_a_callable_are_drained(running: Daemon) -> None:
    batch = running.client.create("fast", records=[str(n) for n in range(10_000)]).batch_id
    view = running.ended(batch)
    assert (view["completed"], view["failed"]) == (10_000, 0)


@pytest.mark.needs_root
def test_another_user_may_read_where_the_socket_lets_him_in_and_change_nothing(running: Daemon) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    running.folder.chmod(0o755)
    running.control.chmod(0o666)
    code = (
        "import os, json, http.client, socket\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "def ask(method, path, body=None):\n"
        "    c = http.client.HTTPConnection('buttermilkd'); c.sock = socket.socket(socket.AF_UNIX)\n"
        f"    c.sock.connect({str(running.control)!r}); c.request(method, path, body)\n"
        "    r = c.getresponse(); return r.status, json.load(r)\n"
        "print(json.dumps([ask('GET', '/v1/status')[0], ask('POST', '/v1/pause', '{}')]))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    read, (change, problem) = json.loads(done.stdout)
    assert (read, change, problem["kind"]) == (200, 403, "not-permitted")
    assert running.client.status()["paused"] == []


def test_the_state_is_closed_to_others(running: Daemon) -> None:
    state = running.folder / "state"
    assert state.stat().st_mode & 0o777 == 0o750
    assert (state / "ledger.sqlite3").stat().st_mode & 0o777 == 0o640
    assert running.control.stat().st_mode & 0o777 == 0o660


def test_sigint_ends_the_daemon_like_sigterm(running: Daemon) -> None:
    assert running.stop(signal.SIGINT) == 0
    assert not running.control.exists()
    assert Client(socket=running.control).socket == running.control
