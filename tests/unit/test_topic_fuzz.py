"""Messages on the topics as nobody should send them: read, or refused with a sentence that says why."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buttermilkd.errors import NotAJobError, UnreadableError
from buttermilkd.messages import JobRequest
from buttermilkd.messages.updates import JobUpdate, parse_update
from tests.fuzz import messages

CHANCE = st.randoms(use_true_random=False)


def read_again(data: bytes) -> None:
    """Read it as either topic's readers do; what can be read can be published, and reads the same."""
    refusals = []
    try:
        request = JobRequest.parse(data, {}, "m", 1.0)
    except (UnreadableError, NotAJobError) as error:
        refusals.append(str(error))
    else:
        assert JobRequest.parse(request.encode(), request.attributes(), "another", 2.0) == request
    try:
        update = parse_update(data, {})
    except UnreadableError as error:
        refusals.append(str(error))
    else:
        if isinstance(update, JobUpdate):
            assert parse_update(update.encode(), update.attributes()) == update
    assert all(len(why.splitlines()) == 1 for why in refusals)


@pytest.mark.parametrize("data", messages.corpus("topics"))
def test_whatever_has_once_done_harm_does_none(data: bytes) -> None:
    read_again(data)


@given(CHANCE)
@settings(deadline=None, max_examples=300)
def test_any_message_is_refused_in_one_sentence_or_can_be_published_again_as_it_was_read(
    chance: Random,
) -> None:
    read_again(messages.topic_message(chance))
