"""Disks that fill up, refuse to be written or lose their power, under the real daemon."""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from buttermilkd.errors import StorageError
from tests.acceptance.program import Daemon, until
from tests.parts import need

WAIT = """
[flows.wait]
command = ["sh", "-c", 'while [ ! -e go ]; do sleep 0.02; done; echo 1']
"""
HIDDEN = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]


def mounted(daemon: Daemon, how: str) -> None:
    """Have the daemon start with something mounted over its state directory, where nobody else sees it."""
    need(os.geteuid() == 0 and shutil.which("unshare"), "root, who may mount where no other process sees it")
    (daemon.folder / "state").mkdir(exist_ok=True)
    daemon.within = [*HIDDEN, f'{how} && exec "$@"', "sh"]


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No byte is free in there meanwhile."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue
            yield
        finally:
            ballast.unlink()


def test_a_full_disk_refuses_what_is_new_loses_nothing_and_is_forgotten_once_there_is_room(
    daemon: Daemon,
) -> None:
    mounted(daemon, "mount -t tmpfs -o size=6m,mode=750 none state")
    daemon.write(WAIT, daemon='drain_timeout = "5s"')
    daemon.start()
    assert daemon.process is not None
    state = Path(f"/proc/{daemon.process.pid}/root") / daemon.folder.relative_to("/") / "state"
    assert (state / "ledger.sqlite3").exists()
    running = daemon.client.create("wait", records=["a", "b"]).batch_id
    daemon.running(2)
    with filled(state):
        with pytest.raises(StorageError, match="full") as caught:
            daemon.client.create("wait", records=[f"{n} {'x' * 1000}" for n in range(5000)], batch_id="large")
        assert "free some space" in (caught.value.hint or "")
        with pytest.raises(StorageError, match="no room"):
            b"".join(daemon.client.backup())
        (daemon.folder / "go").touch()
        # The ends of both jobs may find room in the WAL, or not: then they are kept until there is some.
        until(
            lambda: not daemon.client.status()["running"] or "cannot be recorded" in daemon.log.read_text(),
            "ends",
        )
        assert [one["batch_id"] for one in daemon.client.batches(include_ended=True)["batches"]] == [running]
    assert daemon.ended(running)["completed"] == 2
    batch = daemon.client.create("wait", records=["c"], batch_id="large").batch_id
    assert daemon.ended(batch)["completed"] == 1
    # SQLite finds its way out of another process's folders, and so past what is mounted there.
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal"):
        (daemon.folder / name).write_bytes((state / name).read_bytes())
    with closing(sqlite3.connect(daemon.folder / "ledger.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (3,)
    assert daemon.stop() == 0


def test_a_state_directory_that_cannot_be_written_ends_the_start_with_78_and_says_so(daemon: Daemon) -> None:
    mounted(daemon, "mount --bind state state && mount -o remount,bind,ro state")
    assert daemon.launch().wait(30) == 78
    log = daemon.log.read_text()
    assert f"error: cannot use the state directory {daemon.folder}/state: Read-only file system" in log
    assert "hint: " in log


# A power cut


def test_what_was_answered_is_on_disk_though_the_power_fails_at_once(daemon: Daemon) -> None:
    """What the kernel was not told to write is dropped, and half of a page of what follows is torn."""
    trace = daemon.folder / "trace"
    need(shutil.which("strace"), "strace")
    daemon.within = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=pwrite64,fsync,fdatasync",
        "-o",
        str(trace),
    ]
    daemon.write('[flows.f]\ncommand = ["true"]')
    try:
        daemon.start()
        daemon.client.pause()
        answered: list[str] = []
        for _ in range(5):
            answered.append(daemon.client.create("f", records=["a", "b", "c"]).batch_id)
            cut = power_cut(
                daemon.folder / "state", trace.read_text(), daemon.folder / f"cut-{len(answered)}"
            )
            with closing(sqlite3.connect(cut)) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                found = db.execute(
                    "SELECT batch_id FROM batches WHERE phase = 'open' ORDER BY key"
                ).fetchall()
                assert [batch for (batch,) in found] == answered
                assert db.execute("SELECT count(*) FROM jobs").fetchone() == (3 * len(answered),)
    finally:
        daemon.stop()


def power_cut(state: Path, trace: str, target: Path) -> Path:
    """The ledger as a disk would have it that has kept what was synced and nothing else."""
    target.mkdir()
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal"):
        content = (state / name).read_bytes()
        synced = synced_end(trace, str(state / name))
        if name.endswith("-wal"):
            torn = content[synced : synced + 2048]
            content = content[:synced] + torn + bytes(2048)
        else:
            assert written_since_sync(trace, str(state / name)) == 0
        (target / name).write_bytes(content)
    return target / "ledger.sqlite3"


def calls(trace: str, path: str) -> Iterator[tuple[str, int]]:
    """Each finished write to this file, with where it ends, and each finished sync of it."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>")
            continue
        if match := re.match(r"\s*<\.\.\. \w+ resumed>(.*)", call):
            call = begun.pop(thread, "") + match[1]
        if f"<{path}>" not in call:
            continue
        if "sync(" in call:
            yield "sync", 0
        elif match := re.search(r", (\d+), (\d+)\)\s+= \d+$", call):
            yield "write", int(match[1]) + int(match[2])


def synced_end(trace: str, path: str) -> int:
    """Bytes of the file, from its beginning, that were synced."""
    written = synced = 0
    for call, end in calls(trace, path):
        if call == "write":
            written = max(written, end)
        else:
            synced = written
    return synced


def written_since_sync(trace: str, path: str) -> int:
    """Writes to the file after which it was not synced."""
    since = 0
    for call, _ in calls(trace, path):
        since = since + 1 if call == "write" else 0
    return since
