"""docs/web.md says what the code does, and its program runs."""

import re
import subprocess
import sys
from pathlib import Path

from buttermilkd.idle.activity.server import MAX_CONNECTIONS, MAX_CONNECTIONS_PER_UID, RESERVED, STALE_FOR
from buttermilkd.reports import (
    MAX_BEAT_MS,
    MAX_LINE,
    MAX_LINES_PER_SECOND,
    MAX_NAME,
    STALE_BEATS,
    Hello,
    Snapshot,
    decode,
)
from tests.integration.daemon_end import daemon_end

FILE = Path(__file__).parents[2] / "docs" / "web.md"
DOCUMENT = FILE.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def fields(table: int) -> set[str]:
    """Names in the first column of the tables of fields, but those that both kinds of line have."""
    tables = re.findall(r"\| Field \| Holds \|\n\| --- \| --- \|\n((?:\|.*\n)+)", DOCUMENT)
    names = [line.split("|")[1] for line in tables[table].splitlines()]
    return {name for cell in names for name in re.findall(r"`(\w+)`", cell)} - {"v", "t"}


def test_the_lines_that_it_shows_can_be_read() -> None:
    assert [decode(block.encode()) for block in blocks("json")] == [
        Hello(app="api", pid=811, worker="w1", kind="asgi", beat_ms=1000),
        Snapshot(seq=42, req=3, ws=2, total=9913, idle_ms=0),
    ]


def test_it_names_every_field() -> None:
    assert fields(0) == set(Hello._fields)
    assert fields(1) == set(Snapshot._fields)


def test_it_names_the_limits_that_hold() -> None:
    for text in (
        f"| a line, its newline included | {MAX_LINE:,} bytes |",
        f"| lines a second | {MAX_LINES_PER_SECOND} |",
        f"| connections | {MAX_CONNECTIONS}, and {MAX_CONNECTIONS_PER_UID} of one user other than root; {RESERVED} of all",
        f"| a hello must come within | {STALE_FOR:.0f} s |",
        f"after {STALE_BEATS} beats it counts as busy, {STALE_FOR:.0f} s later it is disconnected",
        f"1 to {MAX_NAME} printable characters",
        f"1 to {MAX_BEAT_MS:,}",
    ):
        assert text in DOCUMENT


def test_every_file_that_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", DOCUMENT)

    assert {Path(link).name for link in links} == {
        file.name for file in (FILE.parents[1] / "examples" / "web").glob("*.py")
    }
    assert [link for link in links if not (FILE.parent / link).is_file()] == []


async def test_its_reporter_reports(tmp_path: Path) -> None:
    async with daemon_end(tmp_path / "activity.sock") as daemon:
        (program,) = (one for one in blocks("python") if "socket.AF_UNIX" in one)
        with _started(program, tmp_path / "activity.sock"):
            await daemon.until(lambda: daemon.requests == 1)
            await daemon.until(lambda: not daemon.reporters)
        told = [(one.requests, one.total) for one in daemon.seen if one.reported]
        assert told == [(1, 1), (0, 1)]
        assert daemon.departure is None


def _started(program: str, socket: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", program, socket])
