"""A ledger that is copied while its daemon works, put back, damaged and mended: with the real programs, as an operator would."""

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from tests.acceptance.program import Daemon, until

PAGE = 4096


def test_what_ended_since_a_backup_runs_again_once_it_is_restored(daemon: Daemon) -> None:
    daemon.write('[flows.note]\ncommand = ["sh", "-c", "echo $BUTTERMILK_JOB_ID >> begun"]')
    daemon.start()
    assert daemon.process is not None
    daemon.client.pause()
    batch = daemon.client.create("note", records=["a", "b"]).batch_id
    file, later = daemon.folder / "backup.sqlite3", daemon.folder / "later.sqlite3"
    told = daemon.ctl_json("backup", str(file))
    assert (told["file"], told["batches"], told["jobs"], told["unfinished"]) == (str(file), 1, 2, 2)
    assert told["bytes"] == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    state = {path.name for path in (daemon.folder / "state").iterdir()}
    assert state == {"ledger.sqlite3", "ledger.sqlite3-shm", "ledger.sqlite3-wal", "lock", "scratch"}
    again = daemon.ctl("backup", str(file))
    assert (again.returncode, "it exists" in again.stderr, "--force" in again.stderr) == (1, True, True)

    config = ("--config", str(daemon.config))
    refused = daemon.ctl(*config, "restore", str(file))
    assert refused.returncode == 1
    assert f"cannot restore the ledger: another buttermilkd (pid {daemon.process.pid}) uses" in refused.stderr
    daemon.client.resume()
    daemon.ended(batch)
    assert daemon.stop() == 0
    without_a_daemon = daemon.ctl(*config, "backup", str(later))
    assert "1 batch, 2 jobs, of which 0 are left to run" in without_a_daemon.stdout, without_a_daemon.stderr

    restored = daemon.ctl(*config, "restore", str(file))
    assert "1 batch, 2 jobs, of which 2 are left to run" in restored.stdout, restored.stderr
    assert "2 jobs have ended since the copy was made, and will run again" in restored.stderr
    (kept,) = (daemon.folder / "state").glob("ledger.sqlite3.before-restore-*")
    assert str(kept) in restored.stderr
    daemon.start()
    daemon.client.resume()  # the pause is part of what was restored
    assert daemon.ended(batch)["completed"] == 2
    assert len((daemon.folder / "begun").read_text().splitlines()) == 4


def test_a_damaged_ledger_ends_the_start_with_78_and_the_command_that_mends_it_does(daemon: Daemon) -> None:
    daemon.write('[flows.f]\ncommand = ["true"]')
    daemon.start()
    ended = daemon.client.create("f", records=[str(n) for n in range(5)]).batch_id
    daemon.ended(ended)
    daemon.client.pause()
    waiting = daemon.client.create("f", records=[f"record {n}" for n in range(2000)]).batch_id
    daemon.kill()
    ledger = daemon.folder / "state" / "ledger.sqlite3"
    until(lambda: daemon.ctl("status").returncode == 3, "the daemon's end")
    page = destroy_a_page_of_jobs(ledger)

    assert daemon.launch().wait(30) == 78
    log = daemon.log.read_text()
    assert f"cannot use the ledger {ledger}: it is damaged: " in log
    assert "hint: `buttermilkctl doctor --repair` keeps the file and saves what can be read" in log
    config = ("--config", str(daemon.config))
    found = daemon.ctl(*config, "doctor")
    assert found.returncode == 1
    assert "problem ledger: cannot use the ledger" in found.stdout

    done = daemon.ctl(*config, "doctor", "--repair")
    (kept,) = (daemon.folder / "state").glob("ledger.sqlite3.damaged-*[!l]")
    assert "saved: 2 batches" in done.stdout
    assert f"the damaged one is kept: {kept}" in done.stdout
    assert page in kept.read_bytes()
    daemon.start()
    view = daemon.client.batch(waiting)
    assert (view["total"], view["pending"] + view["failed"]) == (2000, 2000)
    assert 0 < view["failed"] < 500
    assert f"{view['failed']} jobs of {waiting} could not be read, and count as failed" in done.stdout
    assert daemon.client.batch(ended)["completed"] == 5
    daemon.client.resume()


def destroy_a_page_of_jobs(ledger: Path) -> bytes:
    """Overwrite a page in the middle of the jobs with something; what it is."""
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(ledger.read_bytes())
    starts = range(PAGE, len(content), PAGE)
    start = next(at for at in starts if content[at] == 0x0D and b"record 1000" in content[at : at + PAGE])
    page = os.urandom(PAGE)
    content[start : start + PAGE] = page
    ledger.write_bytes(content)
    return page


def test_doctor_repairs_modes_and_removes_sockets_on_which_nobody_listens(daemon: Daemon) -> None:
    daemon.start()
    daemon.kill()
    ledger = daemon.folder / "state" / "ledger.sqlite3"
    ledger.chmod(0o644)
    assert daemon.control.is_socket()
    config = ("--config", str(daemon.config))
    found = json.loads(daemon.ctl(*config, "doctor", "--json").stdout)["checks"]
    assert [one["mend"] for one in found if one["subject"] == "modes"] == ["buttermilkctl doctor --repair"]
    done = daemon.ctl(*config, "doctor", "--repair")
    assert "ledger.sqlite3 is closed to other users" in done.stdout
    assert f"{daemon.control} is removed: nobody listened on it" in done.stdout
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o640
    assert not daemon.control.exists()
    assert not list((daemon.folder / "state").glob("*damaged*"))  # there was nothing to repair in it
