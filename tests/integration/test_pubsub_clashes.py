"""Different batches under one id, which hosts have made before either heard of the other. Pub/Sub is in memory."""

from typing import Any

import pytest

from tests.integration.fleet import Fleet, take


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
