"""A copy of the ledger over the control socket: whole, or known not to be."""

import asyncio
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import aiohttp
import pytest

from buttermilkd.client import AsyncClient, Client
from buttermilkd.client.transport import NoAnswerError
from buttermilkd.control.services import Services
from buttermilkd.errors import ConflictError
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.integrity import COPY, FILE
from buttermilkd.maintenance import back_up, repair, restore, verify
from buttermilkd.messages import LEDGER
from buttermilkd.places import CONTROL_SOCKET
from buttermilkd.testing import HandMovedClock
from tests.acceptance.program import until
from tests.integration.assembled import opened
from tests.integration.test_control_bodies import CONFIG
from tests.integration.test_ledger import numbered, spec
from tests.parts import need


@pytest.fixture
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """A daemon that runs no jobs, with some in its ledger."""
    folder = tmp_path_factory.mktemp("d")
    (folder / "b.toml").write_text(CONFIG)
    async with opened(folder / "b.toml") as services:
        await services.ledger.create(spec(records=20_000), numbered(20_000), None)
        yield services


def control(services: Services) -> Path:
    return services.settings.daemon.runtime_dir / CONTROL_SOCKET


async def test_a_copy_is_streamed_whole_and_leaves_nothing_in_the_state_directory(
    services: Services, tmp_path: Path
) -> None:
    file = tmp_path / "copy"
    with file.open("wb") as target:
        async for chunk in AsyncClient(control(services)).backup():
            target.write(chunk)
    assert verify(file).jobs == 20_000
    assert not (services.settings.daemon.state_dir / COPY).exists()


async def test_who_asks_while_another_copy_is_being_made_is_refused(services: Services) -> None:
    (services.settings.daemon.state_dir / COPY).touch()
    with pytest.raises(ConflictError, match="another copy"):
        _ = [chunk async for chunk in AsyncClient(control(services)).backup()]


async def test_who_goes_before_the_end_of_a_copy_harms_nobody(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiohttp.ClientSession(
        "http://buttermilkd", connector=aiohttp.UnixConnector(str(control(services)))
    ) as http:
        response = await http.post("/v1/backup")
        assert (response.status, response.content_type) == (200, LEDGER)
        assert await response.content.read(10) == b"SQLite for"
        assert copies_open()
        response.close()
        async with http.get("/v1/info") as answer:
            assert answer.status == 200
    await asyncio.to_thread(until, lambda: not copies_open(), "the end of the copy")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def copies_open() -> list[str]:
    """Copies without a name that this process, which is the daemon here, still has."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return [path for path in found if COPY in path]


def test_a_copy_whose_connection_breaks_is_known_not_to_be_whole(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_by_half() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nSQLite")

        daemon = threading.Thread(target=answer_by_half)
        daemon.start()
        with pytest.raises(NoAnswerError, match="before its end"):
            b"".join(Client(path).backup())
        daemon.join(10)


# Done by root


@pytest.fixture
def others() -> Iterator[Path]:
    """The state directory of another user, where that user can get at it."""
    need(os.geteuid() == 0, "root, who may act for other users")
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    folder.chmod(0o711)
    state = folder / "state"
    state.mkdir(mode=0o750)
    os.chown(state, 65534, 65534)
    yield state
    shutil.rmtree(folder)


async def test_what_root_does_to_the_ledger_of_another_user_leaves_it_that_users(
    others: Path, tmp_path: Path, clock: HandMovedClock
) -> None:
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ledger.create(spec(), numbered(3), None)
    file = tmp_path / "backup"
    back_up(tmp_path, file)
    restore(others, file)  # on a machine that is new
    restore(others, file)
    repair(others)
    mine = tmp_path / "mine"
    back_up(others, mine)
    assert {path.name.split("-")[0] for path in others.iterdir()} >= {FILE, "lock"}
    assert {path.stat().st_uid for path in others.iterdir()} == {65534}
    assert mine.stat().st_uid == 0
    assert verify(others / FILE).jobs == verify(mine).jobs == 3
    assert os.geteuid() == 0
