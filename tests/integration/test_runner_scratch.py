"""The folder of results, whatever jobs have made of it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buttermilkd.jobs import Ending
from buttermilkd.runner.results import remove_result
from buttermilkd.runner.scratch import Scratch
from tests.integration.runner_host import hosting, shell
from tests.parts import need
from tests.privileges import NOBODY, unprivileged


@pytest.fixture
def folder() -> Iterator[Path]:
    """One of an unprivileged user."""
    with tempfile.TemporaryDirectory() as place:
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield Path(place)


def usable(path: str) -> bool:
    Path(path).write_text("1")
    return Path(path).read_text() == "1"


def test_what_a_job_has_shut_is_opened_and_removed(folder: Path) -> None:
    with unprivileged():
        scratch = Scratch(folder / "scratch")
        scratch.empty()
        inner = folder / "scratch/1.json/inner"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        for shut in (inner, inner.parent, folder / "scratch"):
            shut.chmod(0)
        scratch.empty()
        assert list((folder / "scratch").iterdir()) == []
        assert usable(scratch.result(1))


def test_what_cannot_be_removed_stays_is_told_of_and_in_nobodys_way(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need(os.geteuid() == 0, "root, which alone can make what another user cannot remove")
    stubborn = folder / "scratch/1.json"
    stubborn.mkdir(parents=True)
    (stubborn / "file").touch()
    os.chown(folder / "scratch", NOBODY, NOBODY)
    with unprivileged():
        scratch = Scratch(folder / "scratch")
        scratch.empty()
        assert (stubborn / "file").exists()
        assert usable(scratch.result(1))
    assert [one.message for one in caplog.records] == [
        f"cannot remove 1 thing in {folder}/scratch, such as 1.json"
    ]


def test_a_folder_that_a_job_has_shut_takes_the_next_ones_result(folder: Path) -> None:
    with unprivileged():
        scratch = Scratch(folder / "scratch")
        scratch.empty()
        result = scratch.result(1)
        (folder / "scratch").chmod(0)
        remove_result(result)  # nothing is to be had there, and nobody is stopped by that
        assert usable(scratch.result(2))


async def test_a_job_that_takes_the_place_of_the_next_ones_result_does_not_get_it(tmp_path: Path) -> None:
    script = (
        'echo 1 >"$BUTTERMILK_RESULT"; for n in 2 3; do mkdir -p "${BUTTERMILK_RESULT%/*}/$n.json/in"; done'
    )
    async with hosting(tmp_path, shell(script, concurrency=1)) as host:
        first, second = await host.run(), await host.run()
    assert (first.ending, second.ending, second.result) == (Ending.COMPLETED, Ending.COMPLETED, "1")


async def test_a_folder_that_is_gone_is_made_again(tmp_path: Path) -> None:
    script = (
        'mkdir -p "${BUTTERMILK_RESULT%/*}" && echo 1 >"$BUTTERMILK_RESULT"; rm -r "${BUTTERMILK_RESULT%/*}"'
    )
    async with hosting(tmp_path, shell(script), shell("echo 2 >$BUTTERMILK_RESULT", name="next")) as host:
        await host.run()
        assert (await host.run(flow="next")).result == "2"
