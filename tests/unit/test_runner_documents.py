"""JSON between the daemon and its children: what the fast parser and writer make of it is what the usual ones do."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.runner.documents import packed, unpacked

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_packed_is_unpacked_again_in_either_direction(value: Any) -> None:
    assert json.loads(packed(value)) == value
    assert unpacked(json.dumps(value).encode()) == value
    assert b"\n" not in packed(value)


@pytest.mark.parametrize("value", ["\ud800", {"a": ["\udfff"]}, {"\ud800": 1}])
def test_halves_of_surrogate_pairs_pass(value: Any) -> None:
    assert unpacked(packed(value)) == value


def test_numbers_that_are_none_pass() -> None:
    assert math.isnan(unpacked(packed(math.nan)))
    assert unpacked(packed(-math.inf)) == -math.inf


@pytest.mark.parametrize("text", [b"", b"{", b"{} {}", b'"\xff"', b"[" * 100_000])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        unpacked(text)
