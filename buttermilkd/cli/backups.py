"""``backup`` and ``restore``: whole copies of the ledger."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buttermilkd.cli.doctor import units
from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.output import print_json, visible
from buttermilkd.cli.places import state_dir_of
from buttermilkd.cli.session import Session, common_options
from buttermilkd.clock import iso
from buttermilkd.errors import ConflictError, NotRunningError, StorageError
from buttermilkd.plurals import count

if TYPE_CHECKING:
    from buttermilkd.ledger.backup import Known
    from buttermilkd.ledger.replacing import Undone

_FILE = click.Path(path_type=Path, dir_okay=False)
_LEDGER = "ledger.sqlite3"
_NAMED = 20
"""Batches that are named to people; JSON has them all."""


@click.command(short_help="Copy the ledger, while jobs go on.")
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@common_options
@click.pass_obj
def backup(session: Session, file: Path, force: bool) -> None:
    """Copy the ledger to FILE as it is at this moment: all batches, jobs, results and logs.

    A daemon that runs goes on meanwhile; where none does, the ledger is read as it lies there. The copy is
    checked page by page and on disk before FILE has its name.
    """
    from buttermilkd.maintenance import verify  # noqa: PLC0415 - no other command needs it

    if _is_of_a_ledger(file):
        raise ConflictError(
            f"cannot write {file}: it belongs to a ledger", hint="choose a name in another folder"
        )
    with _written_whole(file, replace=force) as part:
        _copy(session, part)
        try:
            knows = verify(part)
        except StorageError as error:
            # What is wrong with a copy is wrong with the ledger: the copy will be gone.
            installation = Installation.of(session.client().socket, os.environ)
            ledger = state_dir_of(session.config, installation) / _LEDGER
            raise StorageError(str(error).replace(str(part), str(ledger)), hint=error.hint) from error
    size = file.stat().st_size
    if session.json:
        print_json({"file": str(file), "bytes": size, **_document(knows)})
        return
    session.say(f"{visible(str(file))}: {_sentence(knows)}; {size // 2**20 + 1:,} MiB")
    session.advise(f"to go back to it, while no daemon runs: buttermilkctl restore {file}")


def _is_of_a_ledger(file: Path) -> bool:
    """Whether it is a daemon's, or would be taken for that: to write there would pull a ledger away beneath it."""
    folder = file.absolute().parent
    is_ours = file.name.startswith(_LEDGER) or file.name in ("clean", "lock")
    return is_ours and (folder / "lock").exists()


def _copy(session: Session, part: Path) -> None:
    """Through the daemon, where one runs; a call must not start one that somebody has stopped."""
    from buttermilkd.maintenance import back_up  # noqa: PLC0415

    client = session.client()
    installation = Installation.of(client.socket, os.environ)
    if not units.is_asleep(installation):
        with suppress(NotRunningError), part.open("wb") as target:
            for chunk in client.backup():
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
            return
    back_up(state_dir_of(session.config, installation), part)


@contextmanager
def _written_whole(file: Path, *, replace: bool) -> Iterator[Path]:
    """An empty file beside it, which gets its name once it is whole.

    Raises:
        ConflictError: ``file`` exists, and is not to be replaced.
        StorageError: the folder cannot be written.
    """
    if not replace and os.path.lexists(file):
        raise _exists(file)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.absolute().parent)
        with suppress(PermissionError):  # some file systems have no modes
            os.fchmod(descriptor, 0o640)
        os.close(descriptor)
        part = Path(name)
        try:
            yield part
            if replace:
                part.replace(file)
            else:
                _name(part, file)
            _sync_folder(file.absolute().parent)
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError:
        raise _exists(file) from None
    except OSError as error:
        raise StorageError(
            f"cannot write {file}: {error.strerror}", hint="choose another place, or make room"
        ) from error


def _name(part: Path, file: Path) -> None:
    """Give it this name. Raises OSError; FileExistsError: somebody was faster."""
    try:
        file.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        try:
            part.replace(file)
        except BaseException:
            file.unlink(missing_ok=True)
            raise


def _exists(file: Path) -> ConflictError:
    return ConflictError(f"cannot write {file}: it exists", hint="choose another name, or --force")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@click.command(short_help="Put a copy in the place of the ledger.")
@click.argument("file", type=_FILE)
@common_options
@click.pass_obj
def restore(session: Session, file: Path) -> None:
    """Put FILE, a copy that ``backup`` made, in the place of the ledger. No daemon may run.

    The ledger that was there is kept beside it. It is said what the copy knows, and what is lost by going back.
    """
    from buttermilkd.maintenance import restore as put_back  # noqa: PLC0415 - no other command needs it

    installation = Installation.of(session.client().socket, os.environ)
    state = state_dir_of(session.config, installation)
    knows, lost, kept = put_back(state, file)
    if session.json:
        undone = None if lost is None else {"run_again": lost.again, "batches_lost": lost.unknown}
        kept_as = None if kept is None else str(kept)
        print_json({"state_dir": str(state), **_document(knows), "undone": undone, "kept": kept_as})
        return
    session.say(f"restored {visible(str(state))}: {_sentence(knows)}")
    for line in _losses(lost, knows, had_one=kept is not None):
        session.note(line)
    if kept is not None:
        session.note(f"the ledger that was there is {visible(str(kept))}")


def _losses(lost: "Undone | None", knows: "Known", *, had_one: bool) -> Iterator[str]:
    if lost is None:
        since = iso(knows.at) or "the copy was made"
        if had_one:
            yield f"the ledger that was there cannot be compared: whatever ended after {since} runs again"
        else:
            yield f"whatever has ended after {since} runs again"
        return
    if lost.again:
        yield f"{count(lost.again, 'job has', 'jobs have')} ended since the copy was made, and will run again"
    if lost.unknown:
        named = ", ".join(lost.unknown[:_NAMED]) + (", …" if len(lost.unknown) > _NAMED else "")
        yield f"{count(len(lost.unknown), 'batch is', 'batches are')} not in the copy: {visible(named)}"


def _sentence(knows: "Known") -> str:
    batches, jobs = count(knows.batches, "batch", "batches"), count(knows.jobs, "job")
    at = f", up to {iso(knows.at)}" if knows.at is not None else ""
    return f"{batches}, {jobs}, of which {knows.unfinished:,} are left to run{at}"


def _document(knows: "Known") -> dict[str, int | str | None]:
    return {
        "batches": knows.batches,
        "jobs": knows.jobs,
        "unfinished": knows.unfinished,
        "at": iso(knows.at),
    }
