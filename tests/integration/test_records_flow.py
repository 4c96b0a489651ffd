"""A flow's own source of records: real files and real commands."""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from buttermilkd.errors import InvalidRequestError, MisconfiguredError
from buttermilkd.records import from_command, from_flow


@dataclass(frozen=True)
class Flow:
    """The part of a flow's settings that says where its records are."""

    records: str | list[str] | None = None
    records_command: list[str] | None = None
    records_field: str | None = None
    directory: Path | None = None
    env: dict[str, str] = field(default_factory=dict)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_a_flow_takes_its_records_from_a_list_a_file_a_glob_or_a_command(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("key,name\n1,x\n2,y\n")

    assert await from_flow(Flow(records=["b", "a"])) == ["b", "a"]
    assert await from_flow(Flow(records="r.csv", directory=tmp_path, records_field="name")) == ["x", "y"]
    assert await from_flow(Flow(records="*.csv", directory=tmp_path)) == ["r.csv"]
    command = python("import os; print(os.getcwd()); print(os.environ['GREETING'])")
    found = await from_flow(Flow(records_command=command, directory=tmp_path, env={"GREETING": "hello"}))
    assert found == [str(tmp_path), "hello"]


async def test_a_command_with_a_field_prints_json_lines() -> None:
    command = python("""print('{"key": "a"}\\n{"key": 7}')""")

    assert await from_flow(Flow(records_command=command, records_field="key")) == ["a", "7"]


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (Flow(), "the flow has no source of its own"),
        (Flow(records=[]), "the flow's records holds no records"),
        (Flow(records="missing-*.txt"), "missing-*.txt holds no records"),
        (Flow(records_command=["/no/such/program"]), "No such file"),
        (Flow(records_command=python("pass")), "holds no records"),
        (Flow(records_command=python("raise SystemExit(3)")), "exit status 3"),
        (Flow(records_command=python("raise RuntimeError('no database')")), "RuntimeError: no database"),
        (Flow(records_command=python("import os; os.kill(os.getpid(), 9)")), "signal 9"),
        (Flow(records_command=python("print('a\\0b')")), "NUL"),
    ],
)
async def test_a_source_that_gives_nothing_is_a_mistake_of_the_configuration(
    flow: Flow, expected: str
) -> None:
    with pytest.raises(MisconfiguredError) as raised:
        await from_flow(flow)
    assert expected in str(raised.value)


def starts_a_child(fifo: Path) -> list[str]:
    """A command whose child holds the fifo open for writing for as long as it lives, and waits forever."""
    code = "import os, sys, subprocess; fd = os.open(sys.argv[1], os.O_WRONLY); "
    code += "os.write(fd, b'up'); subprocess.run(['sleep', 'infinity'], pass_fds=[fd])"
    return [*python(code), str(fifo)]


async def read_to_end(descriptor: int) -> None:
    """Return once every process that holds the other end has ended."""
    await asyncio.to_thread(lambda: [None for _ in iter(lambda: os.read(descriptor, 100), b"")])


async def test_a_cancelled_command_leaves_no_process_behind(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(from_command(starts_a_child(fifo)))
    descriptor = await asyncio.to_thread(os.open, fifo, os.O_RDONLY)
    try:
        assert await asyncio.to_thread(os.read, descriptor, 2) == b"up"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await read_to_end(descriptor)
    finally:
        os.close(descriptor)


async def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    try:
        with pytest.raises(InvalidRequestError, match="it ran for over"):
            await from_command(starts_a_child(fifo), time_limit=0.5)
        await read_to_end(descriptor)
    finally:
        os.close(descriptor)
