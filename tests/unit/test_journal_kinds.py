"""Each kind of event has an id of its own for ever, and is explained in the catalogue and in the documents."""

import re
import uuid
from pathlib import Path

import pytest

from buttermilkd.journal import Kind

CHECKOUT = Path(__file__).parents[2]
CATALOGUE = (CHECKOUT / "buttermilkd/systemd/buttermilkd.catalog").read_text()
DOCUMENT = (CHECKOUT / "docs/journal.md").read_text()
ENTRIES = dict(re.findall(r"^-- ([0-9a-f]{32})\n(.*?)(?=^-- |\Z)", CATALOGUE, re.MULTILINE | re.DOTALL))


def names_in_code() -> set[str]:
    code = "".join(file.read_text() for file in (CHECKOUT / "buttermilkd").rglob("*.py"))
    return set(re.findall(r"\bKind\.([A-Z_]+)", code))


@pytest.mark.parametrize("kind", Kind)
def test_an_id_was_made_by_chance(kind: Kind) -> None:
    made = uuid.UUID(kind.value)
    assert (made.version, made.hex) == (4, kind.value)


def test_no_two_kinds_have_one_id() -> None:
    assert len(Kind.__members__) == len(set(Kind))


def test_the_catalogue_explains_every_kind_and_no_other() -> None:
    assert list(ENTRIES) == [kind.value for kind in Kind]


@pytest.mark.parametrize("kind", Kind)
def test_an_explanation_says_what_it_is_what_it_means_and_what_to_do(kind: Kind) -> None:
    header, _, text = ENTRIES[kind].partition("\n\n")
    fields = dict(line.split(": ", 1) for line in header.splitlines())
    assert fields.keys() == {"Subject", "Defined-By", "Documentation"}
    meaning, _, advice = text.partition("\n\nWhat to do: ")
    assert meaning
    assert advice.strip().endswith(".")


def test_the_page_explains_every_kind_and_no_other() -> None:
    assert re.findall(r"^\| `([0-9a-f]{32})` \| \*\*.+\*\* .+ \| .+ \|$", DOCUMENT, re.MULTILINE) == list(
        Kind
    )


def test_every_kind_is_told_somewhere() -> None:
    assert names_in_code() >= Kind.__members__.keys()
