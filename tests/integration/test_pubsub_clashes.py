"""Different batches under one id, which hosts have made before either heard of the other. Pub/Sub is in memory."""

import asyncio
from typing import Any

import pytest

from tests.integration.fleet import Fleet, cancel, take


def ours(**fields: Any) -> dict[str, object]:
    """What a host asks for that has made a batch of the same id as another one."""
    return {
        "type": "job_request",
        "flow": "f",
        "record_id": "x",
        "parameters": {},
        "batch_id": "b",
        "job_id": "b.1",
        "total": 1,
        "schema": 1,
        **fields,
    }


@pytest.mark.parametrize(
    "difference", [{"flow": "g"}, {"parameters": {"m": 1}}, {"record_id": "y"}, {"job_id": "b.2"}]
)
async def test_what_is_another_job_than_the_one_that_is_known_is_a_dead_letter_and_does_not_vanish(
    fleet: Fleet, difference: dict[str, object]
) -> None:
    one = await fleet.join("one", "f", "g")
    await one.add("b", "f", ["x"])
    await fleet.told()
    await fleet.says(ours(**difference))
    taken = [*await take(one, 9), *await take(one, 9, "g")]
    assert [(one.job.flow, one.job.record_id) for one in taken] == [("f", "x")]
    while not await fleet.letters(one):
        await fleet.told()
    (reason,) = await fleet.letters(one)
    assert reason.startswith(f"{difference.get('job_id', 'b.1')} is another job here")
    assert "create them again under other ids" in reason


async def test_what_is_the_same_job_is_no_clash_whichever_way_its_parameters_are_written(
    fleet: Fleet,
) -> None:
    one = await fleet.join("one", "f", "g")
    await one.add("b", "f", ["x"], variants=({"m": 1.0, "n": [True, None], "o": "\u00e9"},))
    await fleet.says(ours(parameters={"o": "\u00e9", "n": [True, None], "m": 1}))
    assert len(await take(one, 9)) == 1
    assert not await fleet.letters(one)


async def clash(fleet: Fleet) -> None:
    """Two hosts create different batches under one id at the same moment; a third hears of both."""
    for name in ("one", "two", "three"):
        await fleet.join(name, "f")
    one, two, _ = fleet.hosts
    await asyncio.gather(one.add("b", "f", ["x", "y"]), two.add("b", "f", ["p", "q", "r"]))
    await fleet.told()


async def test_each_host_keeps_to_the_batch_that_it_knows_and_adds_no_jobs_of_the_other(fleet: Fleet) -> None:
    await clash(fleet)
    for host in fleet.hosts:
        view, jobs = await fleet.batch(host), await fleet.jobs(host)
        assert [job["record_id"] for job in jobs] in (["x", "y"], ["p", "q", "r"])
        assert view["total"] == view["pending"] == len(jobs)


async def test_records_that_another_host_tells_of_are_none_of_a_batch_that_it_has_not_created(
    fleet: Fleet,
) -> None:
    one, three = await fleet.join("one"), await fleet.join("three")
    await one.add("b", "f", ["x", "y"])
    await fleet.told()
    theirs: dict[str, object] = {"type": "batch_status", "event": "records", "batch_id": "b", "host": "two"}
    more: dict[str, object] = {"at": "2026-01-01", "sequence": 0, "first": 0, "records": ["x", "y", "z"]}
    await fleet.says(theirs | more, topic="status")
    await one.add("c", "f", ["p"])
    await fleet.told()
    for host in (one, three):
        assert [job["record_id"] for job in await fleet.jobs(host)] == ["x", "y"]
        assert [job["record_id"] for job in await fleet.jobs(host, "c")] == ["p"]
    await cancel(three)
    assert (await fleet.batch(three))["cancelled"] == 2


async def test_a_clashing_batch_that_is_cancelled_has_as_many_cancelled_jobs_as_it_has_jobs(
    fleet: Fleet,
) -> None:
    await clash(fleet)
    await cancel(fleet.hosts[0])
    await fleet.told()
    view = await fleet.batch(fleet.hosts[0])
    assert (view["total"], view["pending"], view["cancelled"], view["status"]) == (2, 0, 2, "cancelled")


async def test_every_host_that_hears_of_a_clash_says_between_whom_it_is_and_what_to_do(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await clash(fleet)
    rivals = [(await fleet.batch(host))["rival"] for host in fleet.hosts]
    assert rivals[:2] == ["two", "one"]
    assert rivals[2] in ("one", "two")
    mend = "have created different batches under this id; cancel it, and create both again under other ids"
    for pair in ("this host and two", "this host and one"):
        assert f"batch b: {pair} {mend}" in caplog.text
    assert any(f"batch b: {pair} {mend}" in caplog.text for pair in ("one and two", "two and one"))


async def test_batches_of_one_id_that_differ_in_nothing_but_their_records_clash_as_well(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await asyncio.gather(one.add("b", "f", ["x", "y"]), two.add("b", "f", ["x", "z"]))
    await fleet.told()
    assert [(await fleet.batch(host))["rival"] for host in fleet.hosts] == ["two", "one"]


async def test_the_same_batch_created_twice_is_no_clash(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await asyncio.gather(one.add("b", "f", ["x", "y"]), two.add("b", "f", ["x", "y"]))
    await fleet.told()
    assert [(await fleet.batch(host))["rival"] for host in fleet.hosts] == [None, None]
