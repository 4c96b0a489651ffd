"""The examples of ``docs/pubsub.md`` are messages, and its tables name their fields."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from buttermilkd.messages import BatchEvent, HostAsks, JobRequest, JobUpdate, parse_update

TEXT = (Path(__file__).parents[2] / "docs" / "pubsub.md").read_text(encoding="utf-8")
MESSAGES = TEXT.partition("\n## Messages\n")[2].partition("\n## ")[0]
EXAMPLES: list[dict[str, Any]] = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", MESSAGES, re.DOTALL | re.MULTILINE)
]


def parse(example: dict[str, Any]) -> JobRequest | JobUpdate | BatchEvent | HostAsks:
    data = json.dumps(example).encode()
    if example["type"] == "job_request":
        return JobRequest.parse(data, {}, "m", 0.0)
    return parse_update(data, {})


def test_there_is_an_example_of_each_kind() -> None:
    kinds = {(example["type"], example.get("event"), "job_id" in example) for example in EXAMPLES}
    events = ("created", "records", "cancelled", "stopped", "reopened", "ended")
    assert kinds == {
        *((kind, None, ours) for kind in ("job_request", "job_status") for ours in (True, False)),
        *(("batch_status", event, False) for event in events),
        ("host_status", "asks", False),
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example['type']}-{example.get('event')}")
def test_each_example_can_be_read(example: dict[str, Any]) -> None:
    parsed = parse(example)
    if isinstance(parsed, HostAsks):
        assert parsed.host == example["host"]
    else:
        assert parsed.batch_id == example["batch_id"]


@pytest.mark.parametrize("example", [example for example in EXAMPLES if "schema" in example])
def test_what_is_written_looks_like_the_example(example: dict[str, Any]) -> None:
    assert json.loads(parse(example).encode()) == example


@pytest.mark.parametrize("kind", ["job_request", "job_status"])
def test_every_field_of_a_jobs_messages_is_described(kind: str) -> None:
    rows = re.findall(r"^\| (`.*?) \|", MESSAGES, re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    for example in EXAMPLES:
        if example["type"] == kind and "schema" in example:
            assert set(example) <= described
