"""What no job may see, and where no secret may stand: on a real daemon, with canaries."""

import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.exposed import SECRETS, STATE, asked, exposed, results
from tests.acceptance.program import Daemon, until

NOT_FOR_JOBS = (
    "BUTTERMILKD_",
    "LISTEN_",
    "WATCHDOG_",
    "NOTIFY_SOCKET",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CREDENTIALS_",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Daemon]:
    with exposed() as daemon:
        yield daemon


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
