"""What the commands of an operator do to a ledger of which little is left: nothing is lost that was there before."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.repair import examine, mended
from buttermilkd.errors import ButtermilkError, NotFoundError, StorageError
from buttermilkd.ledger.integrity import FILE, MARK
from buttermilkd.maintenance import back_up, is_damaged, repair, restore, verify
from buttermilkd.testing import HandMovedClock
from tests.integration.crashed import WAL, crashed, findings_of
from tests.integration.test_ledger_integrity import opened_by
from tests.privileges import unprivileged

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
