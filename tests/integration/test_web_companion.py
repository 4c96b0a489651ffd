"""When a worker of a web server starts a daemon beside itself, and when it leaves that to others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from buttermilkd.web.companion import Companion

DAEMON = ["sh", "-c", 'echo started > "$0"']
"""Says that it was started, and ends; the lifeline is an argument that it does not look at."""


@contextmanager
def anothers_daemon(control: Path) -> Iterator[None]:
    """Somebody answers on the control socket, who hangs on nobody's lifeline."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control))
        listener.listen()
        yield
    control.unlink()


@asynccontextmanager
async def keeping(companion: Companion) -> AsyncIterator[None]:
    task = asyncio.ensure_future(companion.keep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await companion.leave()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a file, or a line of the log, rings no bell
            await asyncio.sleep(0.01)


async def test_a_daemon_that_answers_is_left_alone(tmp_path: Path) -> None:
    control, started = tmp_path / "control.sock", tmp_path / "started"
    companion = Companion(control, [*DAEMON, str(started)])
    with anothers_daemon(control):
        async with keeping(companion):
            async with asyncio.timeout(20):
                await companion.is_ready.wait()
    assert not started.exists()


async def test_anothers_daemon_may_be_restarted_without_one_being_started_in_its_place(
    tmp_path: Path,
) -> None:
    control, started = tmp_path / "control.sock", tmp_path / "started"
    companion = Companion(control, [*DAEMON, str(started)])
    with anothers_daemon(control):
        await companion._see_to_it()
    for _ in range(3):
        await companion._see_to_it()
    assert companion._child is None
    with anothers_daemon(control):
        await companion._see_to_it()
    await companion.leave()


async def test_anothers_daemon_that_stays_away_is_replaced(tmp_path: Path) -> None:
    control, started = tmp_path / "control.sock", tmp_path / "started"
    companion = Companion(control, [*DAEMON, str(started)], others_patience=0.0)
    with anothers_daemon(control):
        await companion._see_to_it()
    async with keeping(companion):
        await until(started.exists)


async def test_a_place_that_cannot_be_had_at_first_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, started = tmp_path / "run", tmp_path / "started"
    folder.write_text("a file where the folder should be")
    companion = Companion(folder / "control.sock", [*DAEMON, str(started)])
    with pytest.raises(OSError, match="run"):
        await companion._see_to_it()
    async with keeping(companion):
        await until(lambda: "cannot keep a daemon beside this server" in caplog.text)
        folder.unlink()
        await until(started.exists)
    assert caplog.text.count("cannot keep a daemon") == 1
