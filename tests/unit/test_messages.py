"""What crosses the control socket."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.errors import InvalidRequestError
from buttermilkd.messages import CreateBatch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_whole_request_is_understood() -> None:
    document = {
        "flow": "f",
        "records": ["a"],
        "parameters": {"x": [1, 2]},
        "seed": 0,
        "limit": 3,
        "shuffle": True,
    }
    request = CreateBatch.parse(document)
    assert (request.flow, request.records, request.seed, request.error_policy) == ("f", ["a"], 0, "continue")


def test_every_problem_is_named_at_once() -> None:
    document = {"records": "a", "limit": 0, "flwo": "f", "seed": True, "error_policy": "explode"}
    with pytest.raises(InvalidRequestError) as caught:
        CreateBatch.parse(document)
    for words in (
        "unknown field 'flwo'",
        "'records' must be a list",
        "'limit'",
        "'seed'",
        "continue or stop",
        "'flow' is missing",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("document", [None, [], "flow", 3])
def test_what_is_no_object_is_refused(document: Any) -> None:
    with pytest.raises(InvalidRequestError, match="not a JSON object"):
        CreateBatch.parse(document)


@given(st.dictionaries(st.sampled_from([*CreateBatch.__slots__, "other"]), JSON))
def test_any_document_is_parsed_or_refused_and_nothing_else(document: dict[str, Any]) -> None:
    try:
        outcome = type(CreateBatch.parse(document).flow)
    except InvalidRequestError as error:
        outcome = type(str(error))
    assert outcome is str


def test_the_first_line_of_a_streamed_request_is_the_request_without_its_records() -> None:
    request = CreateBatch("f", records=["a"], parameters={"k": "ü"}, seed=4)
    line = request.head()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    again = CreateBatch.parse(json.loads(line))
    assert (again.records, again.parameters, again.seed) == (None, {"k": "ü"}, 4)
