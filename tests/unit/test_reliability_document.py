"""RELIABILITY.md names tests that there are, and its table has every fault that ``scripts/chaos`` makes."""

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = (CHECKOUT / "RELIABILITY.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT)
    assert len(named) > 10
    missing = [(file, name) for file, name in named if f"def {name}(" not in (CHECKOUT / file).read_text()]
    assert not missing


def test_every_guarantee_that_the_table_speaks_of_is_listed() -> None:
    guarantees = re.findall(r"^(\d)\. \*\*", DOCUMENT, re.MULTILINE)
    assert guarantees == ["1", "2", "3", "4", "5"]
    assert re.findall(r"\| (\d) to (\d)", DOCUMENT)
    assert set(re.findall(r"\| (\d) to (\d)", DOCUMENT)) == {(guarantees[0], guarantees[-1])}
