"""Numbers with their nouns."""

import pytest

from buttermilkd.plurals import count


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (3000, "3,000 jobs")]
)
def test_one_is_singular_and_anything_else_is_not(number: int, words: str) -> None:
    assert count(number, "job") == words


def test_where_more_than_an_s_changes_both_forms_are_given() -> None:
    assert count(1, "job is", "jobs are") == "1 job is"
    assert count(1200, "job is", "jobs are") == "1,200 jobs are"
