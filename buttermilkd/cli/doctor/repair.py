"""The ledger itself, and what of it and around it can be mended without losing anything."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.errors import ButtermilkError
from buttermilkd.places import ACTIVITY_SOCKET, CONTROL_SOCKET
from buttermilkd.plurals import count

if TYPE_CHECKING:
    from buttermilkd.ledger.salvage import Salvaged

_OTHERS = stat.S_IRWXO
_COMMAND = "buttermilkctl doctor --repair, while no daemon runs"
_NAMED = 20
"""Batches that are named."""


def examine(state: Path) -> Iterator[Finding]:
    """Whether the ledger is whole, where nobody has looked since it was last written, and who can read it."""
    if open_to_others := [path for path in _files(state) if _mode_of(path) & _OTHERS]:
        names = ", ".join(path.name for path in open_to_others)
        yield bad("modes", f"{names} in {state}: every user may read them", "buttermilkctl doctor --repair")
    if not os.access(state, os.R_OK | os.X_OK) or _is_held(state):
        return
    from buttermilkd.maintenance import is_damaged, was_closed_well  # noqa: PLC0415 - this alone needs it

    if _is_closed_to_us(state / "ledger.sqlite3"):
        return
    try:
        # The daemon checks at its start; one that was stopped well leaves a mark.
        if was_closed_well(state):
            return
        how = is_damaged(state)
    except ButtermilkError as error:
        yield bad("ledger", str(error), error.hint)
        return
    if how is not None:
        yield bad("ledger", how, _COMMAND)
    elif (state / "ledger.sqlite3").exists():
        yield good("ledger", "every page of it can be read")


def mended(installation: Installation, state: Path) -> Iterator[Finding]:
    """Mend what can be, and say what was. Raises ButtermilkError: it cannot be read, and nobody knows what is wrong."""
    yield good("repair", f"looks at {state}" if state.is_dir() else f"there is no {state}")
    yield from _rights(state)
    yield from _sockets(installation.socket.parent)
    from buttermilkd.maintenance import finished, is_damaged, repair  # noqa: PLC0415 - as above

    if finished(state):
        yield good(
            "repair", "another ledger was to take this one's place: that was cut short, and is done now"
        )
    if (how := is_damaged(state)) is None:
        return
    try:
        salvaged, kept = repair(state)
    except ButtermilkError as error:
        yield bad("repair", f"{how}; {error}", error.hint)
        return
    yield good("repair", f"{how}; {_saved(salvaged)}", f"the damaged one is kept: {kept}")
    yield from _lost(salvaged)


def _saved(salvaged: "Salvaged") -> str:
    saved = salvaged.saved
    batches, jobs = count(saved["batches"], "batch", "batches"), count(saved["jobs"], "job")
    return f"saved: {batches}, {jobs}, {count(saved['results'], 'result')}, logs of {count(saved['logs'], 'attempt')}"


def _lost(salvaged: "Salvaged") -> Iterator[Finding]:
    told = salvaged.reconciled
    for batch, spans in list(told.lost_jobs.items())[:_NAMED]:
        numbers = ", ".join(
            f"{first}" if first == last else f"{first} to {last}" for first, last in spans[:_NAMED]
        )
        more = ", …" if len(spans) > _NAMED else ""
        jobs = sum(last - first + 1 for first, last in spans)
        detail = f"{count(jobs, 'job')} of {batch} could not be read, and count as failed: {numbers}{more}"
        yield good("lost", detail, "create a batch of these records")
    if len(told.lost_jobs) > _NAMED:
        yield good(
            "lost",
            f"{told.lost:,} jobs in {len(told.lost_jobs):,} batches in all; see buttermilkctl list --all",
        )
    for batch, jobs in told.nameless.items():
        detail = f"what batch {count(jobs, 'job')} belonged to: those that can be read are in {batch}"
        yield good("lost", detail, f"buttermilkctl results {batch}")
    rows = {table: lost for table, lost in salvaged.unreadable.items() if lost and table != "jobs"}
    if rows:
        detail = ", ".join(f"{lost:,} of {table}" for table, lost in rows.items())
        yield good("lost", f"rows that could not be read: {detail}")


def _rights(state: Path) -> Iterator[Finding]:
    """Modes as the daemon makes them; as root, files that are not its own are given to whose the folder is."""
    changed: list[str] = []
    owner = state.stat() if state.is_dir() else None
    for path in _files(state):
        try:
            changed += _set_right(path, owner)
        except FileNotFoundError:
            continue  # what lies beside a ledger may go at any time
        except OSError as error:
            yield bad(
                "repair", f"cannot open {path}: {error.strerror}", "run it as root, or as the daemon's user"
            )
    if changed:
        yield good("repair", f"{state}: {'; '.join(changed)}")


def _set_right(path: Path, owner: os.stat_result | None) -> Iterator[str]:
    """What of its rights is changed. Raises OSError."""
    # By a descriptor: in between the folder's owner may put a link to anything in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return
        if status.st_mode & _OTHERS:
            os.fchmod(descriptor, status.st_mode & 0o770)
            yield f"{path.name} is closed to other users"
        if owner is not None and os.geteuid() == 0 and status.st_uid != owner.st_uid:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
            yield f"{path.name} was {status.st_uid}'s, and is {owner.st_uid}'s"
    finally:
        os.close(descriptor)


def _sockets(runtime: Path) -> Iterator[Finding]:
    for name in (CONTROL_SOCKET, ACTIVITY_SOCKET):
        path = runtime / name
        if _is_stale(path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                yield bad("repair", f"cannot remove {path}: {error.strerror}")
                continue
            yield good("repair", f"{path} is removed: nobody listened on it")


def _is_stale(path: Path) -> bool:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _files(state: Path) -> Iterator[Path]:
    """Regular files of the ledger and its lock: a link may lead anywhere."""
    found = []
    with suppress(OSError):
        found = sorted(state.glob("ledger.sqlite3*"))
    for path in (*found, state / "lock"):
        with suppress(OSError):  # one that has just gone, or is not there
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def _mode_of(path: Path) -> int:
    """0 where it has just gone."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _is_closed_to_us(path: Path) -> bool:
    """Whether it is there for others only: what rights are wrong is said elsewhere."""
    return path.exists() and not os.access(path, os.R_OK)


def _is_held(state: Path) -> bool:
    """Whether somebody holds the state directory: a daemon, or what is left of one."""
    import fcntl  # noqa: PLC0415

    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
