"""Where `buttermilkctl backup` writes to: whole or not at all, on any file system, and never over a ledger."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from buttermilkd.cli import main
from buttermilkd.ledger.integrity import FILE
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger_integrity import PAGE, jobs_root, made, overwrite


class BackUp(Protocol):
    """The command, within this process."""

    def __call__(self, *arguments: str) -> "Ended": ...


@pytest.fixture
async def state(tmp_path: Path, clock: HandMovedClock) -> Path:
    """A state directory without a daemon."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o750)
    await made(folder, clock)
    (folder / "lock").touch()
    (tmp_path / "b.toml").write_text(f'[daemon]\nstate_dir = "{folder}"\nruntime_dir = "{tmp_path}"\n')
    return folder


@dataclass(frozen=True)
class Ended:
    """What a command said, and how it ended."""

    exit_code: int
    output: str


@pytest.fixture
def backed_up(state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> BackUp:
    monkeypatch.delenv("BUTTERMILKD_CONTROL_SOCKET", raising=False)

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as caught:
            main(["--config", str(state.parent / "b.toml"), "backup", *arguments])
        told = capsys.readouterr()
        return Ended(int(caught.value.code or 0), told.out + told.err)

    return run


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal", f"{FILE}.new", "lock", "clean"])
def test_nothing_of_the_ledger_itself_is_written_over(state: Path, backed_up: BackUp, name: str) -> None:
    before = {path.name: path.read_bytes() for path in state.iterdir()}
    done = backed_up("--force", str(state / name))
    assert done.exit_code == 1
    assert "it belongs to a ledger" in done.output
    assert {path.name: path.read_bytes() for path in state.iterdir()} == before


def test_a_copy_is_written_where_a_file_can_have_one_name_and_no_modes(
    backed_up: BackUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a memory stick."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)
    file = tmp_path / "copy"
    assert backed_up(str(file)).exit_code == 0
    assert file.read_bytes().startswith(b"SQLite")
    again = backed_up(str(file))
    assert "it exists" in again.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.toml", "copy", "state"]


def test_a_ledger_that_is_damaged_is_named_and_not_the_copy_of_it(
    state: Path, backed_up: BackUp, tmp_path: Path
) -> None:
    overwrite(state / FILE, jobs_root(state / FILE), b"\xff" * PAGE)
    done = backed_up(str(tmp_path / "copy"))
    assert done.exit_code == 1
    assert f"cannot use the ledger {state / FILE}: it is damaged" in done.output
    assert "doctor --repair" in done.output
    assert not (tmp_path / "copy").exists()
