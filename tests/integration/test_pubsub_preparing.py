"""A daemon sees to it that topics and subscriptions are there, and that a loss is on record before. On the emulator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from buttermilkd.config.settings import PubsubSettings
from buttermilkd.daemon.shared import Cloud
from buttermilkd.errors import MisconfiguredError, StorageError, UnavailableError
from buttermilkd.queues.pubsub.api import Broker
from tests.emulator import Emulator


class Records:
    """Where a loss is noted."""

    def __init__(self) -> None:
        self.is_full = False
        self.losses = 0

    async def note_loss(self) -> None:
        if self.is_full:
            raise StorageError("cannot use the ledger: database or disk is full")
        self.losses += 1


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def project(shared_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", shared_emulator.host)
    return f"test-{uuid4().hex[:12]}"


@asynccontextmanager
async def connected(project: str, records: Records, *, create: bool) -> AsyncIterator[tuple[Cloud, Broker]]:
    cloud = Cloud(PubsubSettings(project=project, create=create), "one", records.note_loss)
    broker = await cloud.connect()
    yield cloud, broker
    await broker.close()


async def test_what_is_made_counts_as_a_loss_once(project: str, records: Records) -> None:
    async with connected(project, records, create=True) as (cloud, broker):
        assert await cloud.prepare(broker)
        assert not await cloud.prepare(broker)
    assert records.losses == 1


async def test_nothing_is_made_while_the_loss_cannot_be_noted(project: str, records: Records) -> None:
    records.is_full = True
    async with connected(project, records, create=True) as (cloud, broker):
        with pytest.raises(UnavailableError, match="disk is full"):
            await cloud.prepare(broker)
        records.is_full = False
        assert await cloud.prepare(broker)


async def test_what_a_person_makes_counts_as_a_loss_as_well(project: str, records: Records) -> None:
    async with connected(project, records, create=False) as (cloud, broker):
        with pytest.raises(MisconfiguredError, match="missing"):
            await cloud.prepare(broker)
        assert records.losses == 1
        async with connected(project, Records(), create=True) as (person, theirs):
            await person.prepare(theirs)
        assert await cloud.prepare(broker)
