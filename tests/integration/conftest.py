"""What several of these tests need."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from buttermilkd.ledger import Ledger
from buttermilkd.testing import HandMovedClock


@pytest.fixture
def clock() -> HandMovedClock:
    return HandMovedClock()


@pytest.fixture
async def ledger(tmp_path: Path, clock: HandMovedClock) -> AsyncIterator[Ledger]:
    async with AsyncExitStack() as stack:
        yield await Ledger.open(tmp_path, clock, stack)
