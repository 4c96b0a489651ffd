"""What a program prints becomes lines that can be read, each with its priority, and no more than there is room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.budget import Budget
from buttermilkd.host.journal.lines import MOST_IN_A_LINE, Lines, Stream
from buttermilkd.testing import HandMovedClock


class Heard:
    """Hears lines, as many as it has room for."""

    def __init__(self, stream: Stream = Stream.STDOUT, room: int = 1_000_000) -> None:
        self.told: list[tuple[str, int]] = []
        self.left_out = 0
        self.room = room
        self.lines = Lines(stream, self._tell, self._leave_out)

    def _tell(self, line: str, priority: int) -> bool:
        if len(self.told) == self.room:
            return False
        self.told.append((line, priority))
        return True

    def _leave_out(self, lines: int) -> None:
        self.left_out += lines

    def of(self, *pieces: bytes) -> list[str]:
        for piece in pieces:
            self.lines.write(piece)
        self.lines.finish()
        return [line for line, _ in self.told]


@given(st.lists(st.sampled_from([b"a", b"bc\n", b"\n", b"d\ne", "ä\n".encode(), b"f\ng\nh\n"])))
def test_lines_are_whole_whatever_pieces_they_come_in(pieces: list[bytes]) -> None:
    whole = [line for line in b"".join(pieces).decode().split("\n") if line]
    assert Heard().of(*pieces) == whole


def test_a_character_that_comes_in_two_pieces_is_one() -> None:
    assert Heard().of(b"gr\xc3", b"\xbc\xc3\x9fe\n") == ["grüße"]


def test_a_last_line_without_an_end_is_told_at_the_end() -> None:
    assert Heard().of(b"one\ntwo") == ["one", "two"]


def test_blank_lines_are_no_entries() -> None:
    assert Heard().of(b"\n  \n\r\none\n\n") == ["one"]


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert Heard().of(b"\xff\xfe and \x00 and \x07\n") == ["\\xff\\xfe and \\x00 and \\x07"]


def test_colours_and_tabulators_are_kept() -> None:
    assert Heard().of(b"\x1b[31mred\x1b[0m\tplain\n") == ["\x1b[31mred\x1b[0m\tplain"]


def test_of_a_bar_that_shows_progress_its_last_state_is_told() -> None:
    assert Heard().of(b" 1 %\r 2 %", b"\r99 %\r100 %\n", b"done\r\n") == ["100 %", "done"]


def test_a_bar_that_never_ends_its_line_is_not_kept_whole() -> None:
    heard = Heard()
    for number in range(100_000):
        heard.lines.write(b"\r%d" % number)
    heard.lines.finish()
    assert [line for line, _ in heard.told] == ["99999"]


def test_standard_output_is_information_and_standard_error_a_notice() -> None:
    for stream, priority in ((Stream.STDOUT, 6), (Stream.STDERR, 5)):
        heard = Heard(stream)
        heard.of(b"said\n")
        assert heard.told == [("said", priority)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"<3>broken", ("broken", 3)),
        (b"<7>detail", ("detail", 7)),
        (b"<0>all users would see this", ("all users would see this", 2)),
        (b"<8>no priority", ("<8>no priority", 6)),
        (b"<3", ("<3", 6)),
    ],
)
def test_a_line_may_begin_with_its_priority_but_is_never_an_emergency(
    line: bytes, told: tuple[str, int]
) -> None:
    heard = Heard()
    heard.of(line + b"\n")
    assert heard.told == [told]


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_a_line_that_is_too_long_goes_on_in_the_next_entry(pieces: int) -> None:
    long = b"x" * (2 * MOST_IN_A_LINE + 5)
    size = -(-len(long) // pieces)
    told = Heard().of(*(long[at : at + size] for at in range(0, len(long), size)), b"\n")
    assert [len(line) for line in told] == [MOST_IN_A_LINE, MOST_IN_A_LINE, 5]


@given(st.integers(0, 5), st.lists(st.sampled_from([b"a\n", b"b\nc\n", b"d", b"\ne\nf\ng\n"])))
def test_lines_without_room_are_counted_each_once(room: int, pieces: list[bytes]) -> None:
    heard = Heard(room=room)
    heard.of(*pieces)
    whole = [line for line in b"".join(pieces).decode().split("\n") if line]
    blank = b"".join(pieces).decode().split("\n")[:-1].count("")
    assert [line for line, _ in heard.told] == whole[:room]
    # Blank ones among them are counted as well.
    assert len(whole) <= len(heard.told) + heard.left_out <= len(whole) + blank


async def test_a_budget_lets_a_burst_pass_and_then_a_second_of_its_rate_at_a_time() -> None:
    clock = HandMovedClock()
    budget = Budget(clock, rate=10, burst=30)

    def passing() -> int:
        passed = 0
        while budget.allows:
            budget.spend()
            passed += 1
        return passed

    assert passing() == 30
    await clock.advance(0.9)
    assert passing() == 0
    await clock.advance(0.1)
    assert passing() == 10
    await clock.advance(3600)
    assert passing() == 30
