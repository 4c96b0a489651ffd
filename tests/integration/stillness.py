"""Whether a process that burns does so."""

import asyncio
from pathlib import Path

from tests.integration.runner_host import until


def used(pid: int) -> int:
    """CPU time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


async def stands_still(pid: int) -> bool:
    """Whether a process that burns uses no CPU while another one is seen to use some."""
    before = used(pid)
    other = await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done")
    await until(lambda: used(other.pid) >= 10)
    other.kill()
    await other.wait()
    return used(pid) == before


async def until_still(pid: int) -> None:
    while not await stands_still(pid):
        pass
