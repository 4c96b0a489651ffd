"""What lies in the WAL of a ledger: damage there is told from what a power cut leaves, and no step loses it."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.repair import mended
from buttermilkd.errors import StorageError
from buttermilkd.ledger import Ledger, replacing
from buttermilkd.maintenance import back_up, is_damaged, repair, restore
from buttermilkd.testing import HandMovedClock
from tests.integration.crashed import WAL, crashed, findings_of
from tests.integration.test_ledger import numbered, spec
from tests.integration.test_ledger_integrity import PAGE, opened_by


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
    back_up(await other(tmp_path, clock), tmp_path / "backup")
    if is_broken:
        wal = bytearray((crash / WAL).read_bytes())
        BROKEN["the end of a commit"](wal)
        (crash / WAL).write_bytes(wal)
    steps: set[bool] = set()
    for step in range(1, 20):
        state = tmp_path / f"state{step}"
        shutil.copytree(crash, state)
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            cut_at(step, patch)
            restore(state, tmp_path / "backup")
            break
        is_new = bool([*state.glob("*.next"), *state.glob("*before-restore*")])
        steps.add(is_new)
        if finisher == "doctor":
            assert findings_of(mended(Installation(state / "control.sock", None), state))["bad"] == []
        elif is_broken and not is_new:
            with pytest.raises(StorageError, match="others follow it"):
                await opened_by(state, clock)
            continue
        assert await opened_by(state, clock) == (OTHER if is_new else 3)
        if is_new and is_broken:
            assert wal in [file.read_bytes() for file in state.glob("*before-restore*-wal")]
    assert steps == {False, True}


OTHER = 5


async def other(folder: Path, clock: HandMovedClock) -> Path:
    """The state directory of a ledger with more jobs."""
    state = folder / "other"
    state.mkdir()
    async with AsyncExitStack() as stack:
        await (await Ledger.open(state, clock, stack)).create(spec(records=OTHER), numbered(OTHER), None)
    return state


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
