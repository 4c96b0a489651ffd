"""A ledger as a daemon leaves it that is killed, and what the doctor says of one."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from buttermilkd.cli.doctor.findings import Finding
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.integrity import FILE
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import completed, numbered, spec, take

WAL = f"{FILE}-wal"
_made: dict[str, bytes] = {}
"""The files of one, which is made once."""


async def crashed(folder: Path, clock: HandMovedClock) -> Path:
    """A state directory in which all commits are in the WAL: three jobs, of which one has ended."""
    if not _made:
        working = folder / "working"
        working.mkdir()
        async with AsyncExitStack() as stack:
            ledger = await Ledger.open(working, clock, stack)
            await ledger.create(spec(), numbered(3), None)
            await ledger.settle([completed(one) for one in await take(ledger, 1)])
            _made.update({name: (working / name).read_bytes() for name in (FILE, WAL)})
    state = folder / "state"
    state.mkdir(mode=0o750)
    for name, content in _made.items():
        (state / name).write_bytes(content)
        (state / name).chmod(0o640)
    return state


def findings_of(found: Iterable[Finding]) -> dict[str, list[str]]:
    """What is well and what is not."""
    told: dict[str, list[str]] = {"ok": [], "bad": []}
    for finding in found:
        told["ok" if finding.ok else "bad"].append(f"{finding.subject}: {finding.detail}")
    return told
