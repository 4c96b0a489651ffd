"""Nothing that stands in a configuration raises anything but the error that explains it."""

import os
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buttermilkd.config.load import load
from buttermilkd.config.settings import Settings
from buttermilkd.errors import MisconfiguredError
from tests.fuzz.messages import changed, corpus

COMMENTED = (Path(__file__).parents[2] / "conf/buttermilkd.toml").read_bytes()

TABLES = ("pubsub", "daemon", "idle", "activity", "control", "flows", "flows.x", "flows.x.env", '"fl\\nows"')
KEYS = (
    "queue",
    "create",
    "concurrency",
    "state_dir",
    "quiet_for",
    "allow",
    "command",
    "env",
    "records",
    "name",
)
VALUES = (
    "1",
    "-1",
    "nan",
    '"x"',
    '""',
    '"\\u0000"',
    "[]",
    '["a"]',
    "[[1]]",
    "{}",
    "{a = 1}",
    "07:32:00",
    "1e400",
)
texts = st.lists(
    st.one_of(
        st.sampled_from(TABLES).map("[{}]".format),
        st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)).map(" = ".join),
        st.text(max_size=20),
        st.integers(50, 200).map(lambda depth: f"x = {'[' * depth}{']' * depth}"),
    ),
    max_size=12,
).map("\n".join)
variables = st.dictionaries(
    st.sampled_from(
        ("IDLE__QUIET_FOR", "FLOWS__X", "FLOWS", "QUEUE", "__", "FLOWS__X__ENV__", "QUEUE__X")
    ).map("BUTTERMILKD_{}".format),
    st.one_of(st.sampled_from(VALUES), st.text(max_size=10), st.just(os.fsdecode(b"a\xff"))),
    max_size=3,
)


@given(text=texts, environ=variables)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_whatever_stands_in_it_a_configuration_loads_or_is_explained(
    text: str, environ: dict[str, str], tmp_path: Path
) -> None:
    read(text.encode("utf-8", "surrogatepass"), environ, tmp_path)


@pytest.mark.parametrize("data", corpus("config"))
def test_a_configuration_that_was_made_to_do_harm_loads_or_is_explained(data: bytes, tmp_path: Path) -> None:
    read(data, {}, tmp_path)


@given(chance=st.randoms(use_true_random=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_any_change_of_the_commented_configuration_loads_or_is_explained(
    chance: Random, tmp_path: Path
) -> None:
    lines = COMMENTED.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    for number in range(at, min(at + 20, len(lines))):
        lines[number] = changed(re.sub(rb"^# (?=[a-z_]+ = )", b"", lines[number]), chance, 1)
    read(b"".join(lines), {}, tmp_path)


def read(data: bytes, environ: dict[str, str], folder: Path) -> None:
    """Load it, or see it explained, each problem in one line."""
    file = folder / "b.toml"
    file.write_bytes(data)
    try:
        loaded = load(file, {"HOME": str(file.parent), **environ})
    except MisconfiguredError as error:
        explained = error.problems
    else:
        assert isinstance(loaded, Settings)
        return
    assert explained
    assert all(len(problem.splitlines()) == 1 for problem in explained)
