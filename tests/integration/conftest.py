"""What several of these tests need."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from buttermilkd.cgroups import Group
from buttermilkd.ledger import Ledger
from buttermilkd.testing import HandMovedClock
from tests.integration.fleet import Fleet
from tests.integration.job_groups import job_group


@pytest.fixture
def clock() -> HandMovedClock:
    return HandMovedClock()


@pytest.fixture
async def ledger(tmp_path: Path, clock: HandMovedClock) -> AsyncIterator[Ledger]:
    async with AsyncExitStack() as stack:
        yield await Ledger.open(tmp_path, clock, stack)


@pytest.fixture
async def fleet(tmp_path: Path, clock: HandMovedClock) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        yield Fleet(tmp_path, clock, stack)


@pytest.fixture(params=["freezer", "signals"])
def groups(request: pytest.FixtureRequest) -> Iterator[Group | None]:
    """The control group for jobs, or None where they have none."""
    if request.param == "signals":
        yield None
    else:
        with job_group() as group:
            yield group
