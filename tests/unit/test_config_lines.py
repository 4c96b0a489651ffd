from collections.abc import Iterator
from typing import Any

import tomli
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.config.lines import key_lines, read_key

TEXT = '''\
# [not.a.table]
top = 1

[a.b] # comment
plain = "x = 1"
"quo\\u0074ed" . 'dot ted' = [
  "]", # ] not the end
  { inner = 1 },
]
long = """
[fake]
key = 1
quote ""\\"" """
literal = \'\'\'
[fake.too]
\'\'\'\'\'
  indented.key={ inline = 1, other = [2] }

[[list]]
x = 1
[[list]]
x = 2
y = 3
[ "spaced" . out ]
'''


def test_every_key_and_header_has_its_line() -> None:
    assert key_lines(TEXT) == {
        ("top",): 2,
        ("a",): 4,
        ("a", "b"): 4,
        ("a", "b", "plain"): 5,
        ("a", "b", "quoted"): 6,
        ("a", "b", "quoted", "dot ted"): 6,
        ("a", "b", "long"): 10,
        ("a", "b", "literal"): 14,
        ("a", "b", "indented"): 17,
        ("a", "b", "indented", "key"): 17,
        ("list",): 19,
        ("list", "x"): 20,
        ("list", "y"): 23,
        ("spaced",): 24,
        ("spaced", "out"): 24,
    }


def test_the_example_is_valid() -> None:
    assert tomli.loads(TEXT)["a"]["b"]["plain"] == "x = 1"


def test_a_dotted_key_is_read_as_toml_reads_it() -> None:
    assert read_key('flows."a.b".timeout') == (("flows", "a.b", "timeout"), 19)
    assert read_key("=") == ((), 0)
    assert read_key("a..b") == ((), 2)


def paths(document: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in document.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


words = st.sampled_from(["a", "b", "'c.d'", '"e#f"', "9"])
keys = st.lists(words, min_size=1, max_size=3).map(".".join)
scalars = st.sampled_from(
    ["1", '"#"', "'['", '"""\n[x]\n"""', "'''\ny = 1\n'''", '"\\""', "true", "1979-05-27"]
)
arrays = st.lists(scalars, max_size=3).map(lambda items: "[\n # ]\n" + ",\n".join(items) + "]")
lines_of_text = st.one_of(
    st.tuples(keys, st.one_of(scalars, arrays)).map(" = ".join),
    keys.map("[{}]".format),
    st.just("# [c]"),
    st.just(""),
)


@given(st.lists(lines_of_text, max_size=8).map("\n".join))
def test_the_scanner_finds_the_keys_that_the_parser_finds(text: str) -> None:
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:
        key_lines(text)
        return
    found = key_lines(text)
    assert set(found) == set(paths(document))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


@given(st.text(max_size=200))
def test_any_text_at_all_is_scanned_to_an_end(text: str) -> None:
    assert isinstance(key_lines(text), dict)


def test_a_key_with_an_escape_that_toml_does_not_know_is_left_as_it_is() -> None:
    assert read_key(r'"\q".x') == ((r'"\q"', "x"), 6)
