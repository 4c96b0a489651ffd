"""What the commands of an operator do to a ledger of which little is left: nothing is lost that was there before."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding
from buttermilkd.cli.doctor.repair import examine, mended
from buttermilkd.errors import ButtermilkError, NotFoundError, StorageError
from buttermilkd.ledger import Ledger, replacing
from buttermilkd.ledger.integrity import FILE, MARK
from buttermilkd.maintenance import back_up, is_damaged, repair, restore, verify
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import completed, numbered, spec, take
from tests.integration.test_ledger_integrity import PAGE, opened_by
from tests.privileges import unprivileged

WAL = f"{FILE}-wal"


async def crashed(folder: Path, clock: HandMovedClock) -> Path:
    """A state directory as a daemon leaves it that is killed: all its commits are in the WAL."""
    working = folder / "working"
    working.mkdir()
    state = folder / "state"
    state.mkdir(mode=0o750)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(working, clock, stack)
        await ledger.create(spec(), numbered(3), None)
        await ledger.settle([completed(one) for one in await take(ledger, 1)])
        for name in (FILE, WAL):
            shutil.copy(working / name, state / name)
    return state


LEFT: dict[str, Callable[[Path], object]] = {
    "is empty": lambda file: file.write_bytes(b""),
    "is missing": lambda file: file.unlink(),
}
COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "doctor": lambda state, _: is_damaged(state),
    "backup": lambda state, folder: back_up(state, folder / "copy"),
    "restore": lambda state, folder: restore(state, folder / "backup"),
    "a copy of a copy": lambda state, _: verify(state / FILE),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", LEFT)
async def test_commits_beside_a_ledger_that_is_not_there_any_more_are_lost_by_no_command(
    how: str, command: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    state = await crashed(tmp_path, clock)
    back_up(state, tmp_path / "backup")
    commits = (state / WAL).read_bytes()
    LEFT[how](state / FILE)
    with suppress(StorageError):
        COMMANDS[command](state, tmp_path)
    assert commits in [file.read_bytes() for file in state.glob(f"{FILE}*-wal")]


@pytest.mark.parametrize("how", LEFT)
async def test_a_ledger_that_is_not_there_any_more_is_damaged_and_mended_from_the_commits_beside_it(
    how: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    state = await crashed(tmp_path, clock)
    LEFT[how](state / FILE)
    with pytest.raises(StorageError, match=f"it {how}, but {WAL} beside it is not"):
        back_up(state, tmp_path / "copy")
    assert f"it {how}" in (is_damaged(state) or "")
    saved, _ = repair(state)
    assert (saved.saved["batches"], saved.saved["jobs"], saved.saved["results"]) == (1, 3, 1)
    assert is_damaged(state) is None
    assert await opened_by(state, clock) == 3


def frames(wal: bytes | bytearray) -> list[int]:
    """Where the frames of a WAL begin."""
    return list(range(32, len(wal) - PAGE, 24 + PAGE))


def commits(wal: bytes | bytearray) -> list[int]:
    """Where those begin that end a commit."""
    return [at for at in frames(wal) if wal[at + 4 : at + 8] != bytes(4)]


def spoil(wal: bytearray, at: int) -> None:
    wal[at] ^= 1


BROKEN: dict[str, Callable[[bytearray], None]] = {
    "the end of a commit": lambda wal: spoil(wal, commits(wal)[-3] + 24 + 2000),
    "the beginning of a commit": lambda wal: spoil(wal, commits(wal)[-3] + 24 + PAGE + 24 + 5),
    "what frames a page": lambda wal: spoil(wal, commits(wal)[1] + 9),
    "the beginning of the log": lambda wal: spoil(wal, 17),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_commit_that_cannot_be_read_before_others_is_damage_and_those_others_are_saved(
    what: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    state = await crashed(tmp_path, clock)
    back_up(state, tmp_path / "backup")
    wal = bytearray((state / WAL).read_bytes())
    BROKEN[what](wal)
    (state / WAL).write_bytes(wal)
    for refused in (opened_by(state, clock), asyncio.to_thread(back_up, state, tmp_path / "copy")):
        with pytest.raises(StorageError, match="others follow it"):
            await refused
    assert "others follow it" in (is_damaged(state) or "")
    shutil.copytree(state, tmp_path / "again")
    for kept in (repair(state)[1], restore(tmp_path / "again", tmp_path / "backup")[2]):
        assert kept is not None
        assert kept.with_name(f"{kept.name}-wal").read_bytes() == wal
    assert await opened_by(state, clock) == 3


TORN: dict[str, Callable[[bytearray], None]] = {
    "its end": lambda wal: spoil(wal, commits(wal)[-1] + 24),
    "its beginning": lambda wal: spoil(wal, commits(wal)[-2] + 24 + PAGE + 24),
    "all after it": lambda wal: wal.extend(bytes(3 * (24 + PAGE))),
    "half a frame": lambda wal: wal.__delitem__(slice(len(wal) - 1000, None)),
}


@pytest.mark.parametrize("what", TORN)
async def test_the_last_commit_may_be_in_pieces_after_a_power_cut_and_that_is_no_damage(
    what: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    state = await crashed(tmp_path, clock)
    wal = bytearray((state / WAL).read_bytes())
    wal = wal[: commits(wal)[-1] + 24 + PAGE]
    TORN[what](wal)
    (state / WAL).write_bytes(wal)
    assert is_damaged(state) is None
    assert await opened_by(state, clock) == 3


@pytest.mark.parametrize("finisher", ["the daemon", "doctor"])
@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_restore_that_is_cut_short_at_any_step_leaves_the_old_ledger_or_the_new_one_and_keeps_both(
    is_broken: bool, finisher: str, tmp_path: Path, clock: HandMovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = await crashed(tmp_path, clock)
    back_up(crash, tmp_path / "backup")
    if is_broken:
        wal = bytearray((crash / WAL).read_bytes())
        BROKEN["the end of a commit"](wal)
        (crash / WAL).write_bytes(wal)
    for step in range(1, 20):
        state = tmp_path / f"state{step}"
        shutil.copytree(crash, state)
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            cut_at(step, patch)
            restore(state, tmp_path / "backup")
            assert step > 5
            break
        is_new = bool([*state.glob("*.next"), *state.glob("*before-restore*")])
        if finisher == "doctor":
            assert findings_of(mended(Installation(state / "control.sock", None), state))["bad"] == []
        elif is_broken and not is_new:
            with pytest.raises(StorageError, match="others follow it"):
                await opened_by(state, clock)
            continue
        assert await opened_by(state, clock) == 3
        if is_new and is_broken:
            assert wal in [file.read_bytes() for file in state.glob("*before-restore*-wal")]


def cut_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Break off before this step of those that change names."""
    left = [step]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return call(*args, **kwargs)

        return wrapped

    for owner, name in ((Path, "rename"), (Path, "replace"), (replacing, "sync_folder")):
        patch.setattr(owner, name, counted(getattr(owner, name)))


async def test_an_empty_ledger_that_was_closed_well_is_kept_and_makes_room_for_a_new_one(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    await opened_by(tmp_path, clock)
    (tmp_path / FILE).write_bytes(b"")
    assert "it is empty, and was not when it was closed" in (is_damaged(tmp_path) or "")
    _, kept = repair(tmp_path)
    assert kept is not None
    assert kept.read_bytes() == b""
    assert not (tmp_path / MARK).exists()
    assert await opened_by(tmp_path, clock) == 0


async def test_what_only_cannot_be_read_is_no_damage_and_is_not_mended(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    await opened_by(tmp_path, clock)
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    (tmp_path / FILE).mkdir()
    with pytest.raises(ButtermilkError, match="cannot use the ledger"):
        is_damaged(tmp_path)
    with pytest.raises(StorageError):
        repair(tmp_path)
    assert not list(tmp_path.glob("*.new*"))


async def test_a_backup_of_an_empty_ledger_names_the_ledger(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"there is no {tmp_path / FILE}"):
        back_up(tmp_path, tmp_path / "copy")
    (tmp_path / FILE).touch()
    with pytest.raises(NotFoundError, match=f"{tmp_path / FILE} is empty"):
        back_up(tmp_path, tmp_path / "copy")


def findings_of(found: Iterable[Finding]) -> dict[str, list[str]]:
    """What is well and what is not."""
    told: dict[str, list[str]] = {"ok": [], "bad": []}
    for finding in found:
        told["ok" if finding.ok else "bad"].append(f"{finding.subject}: {finding.detail}")
    return told


@pytest.mark.parametrize("how", ["is missing", "was emptied after a clean stop"])
async def test_the_doctor_sees_what_the_daemon_would_refuse_and_says_where_it_looks(
    how: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    state = await crashed(tmp_path, clock)
    if how == "is missing":
        (state / FILE).unlink()
    else:
        await opened_by(state, clock)
        (state / FILE).write_bytes(b"")
    with pytest.raises(StorageError, match="it is damaged"):
        await opened_by(state, clock)
    (seen,) = findings_of(examine(state))["bad"]
    assert "ledger: cannot use the ledger" in seen
    done = findings_of(mended(Installation(tmp_path / "control.sock", None), state))
    assert done["bad"] == []
    assert done["ok"][0] == f"repair: looks at {state}"
    assert await opened_by(state, clock) == (3 if how == "is missing" else 0)


def test_files_that_cannot_be_opened_are_told_one_by_one() -> None:
    state = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    try:
        state.chmod(0o755)
        for name in (FILE, WAL):
            (state / name).touch(0o000)
        with unprivileged():
            told = findings_of(mended(Installation(state / "control.sock", None), state))
        assert told["bad"] == [
            f"repair: cannot open {state / name}: Permission denied" for name in sorted((FILE, WAL))
        ]
    finally:
        shutil.rmtree(state)
