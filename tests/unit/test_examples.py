"""The bundled example: what it measures, of small sources whose figures are counted by hand."""

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buttermilkd.examples import modules
from buttermilkd.examples.measures import complexity, definitions, measure
from buttermilkd.examples.reading import reading_ease, sentences, syllables, words
from buttermilkd.examples.summary import summarise
from buttermilkd.flows import Reject

SMALL = '''\
"""A module of two functions."""

# a comment
def first(value):
    """Say which it is."""
    if value and value > 1:  # another
        return 1
    return 2


class Holder:
    def _hidden(self):
        return [item for item in self.items if item]
'''


def job(record_id: str) -> Any:
    return SimpleNamespace(record_id=record_id)


def only_function(source: str) -> ast.FunctionDef:
    node = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def test_a_small_module_is_measured_as_counted_by_hand() -> None:
    assert measure(SMALL) == {
        "lines": 13,
        "code_lines": 7,
        "comment_ratio": 0.25,
        "functions": 2,
        "classes": 1,
        "mean_complexity": 3.0,
        "max_complexity": 3,
        "most_complex": "first",
        "docstring_share": 0.667,
        "docstring_words": 9,
        "reading_ease": None,
    }


def test_an_empty_module_has_figures_too() -> None:
    measures = measure("")

    assert measures["lines"] == measures["code_lines"] == measures["max_complexity"] == 0
    assert measures["most_complex"] is None
    assert measures["docstring_share"] == 0.0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): pass", 1),
        ("def f(a):\n if a: pass\n elif not a: pass\n else: pass", 3),
        ("def f(a):\n for b in a:\n  while b: pass", 3),
        ("def f():\n try: pass\n except OSError: pass\n except ValueError: pass\n finally: pass", 3),
        ("def f(a, b, c): return a and b and c or a", 4),
        ("def f(a): return [b for b in a if b if not b]", 4),
        ("def f(a): return 1 if a else 2", 2),
        ("def f(a):\n match a:\n  case 1: pass\n  case 2: pass", 3),
        ("def f(a):\n def g(b):\n  if b: pass\n return g", 1),
    ],
)
def test_each_decision_adds_one_to_the_complexity(source: str, expected: int) -> None:
    assert complexity(only_function(source)) == expected


def test_definitions_have_the_qualified_names_that_python_gives_them() -> None:
    tree = ast.parse("class A:\n def b(self):\n  def c(): pass\nif A:\n async def d(): pass")

    assert [name for name, _ in definitions(tree)] == ["A", "A.b", "A.b.<locals>.c", "d"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("the", 1), ("module", 2), ("value", 2), ("simple", 2), ("tree", 1), ("hmm", 1), ("I", 1)),
        *(("returned", 2), ("added", 2), ("called", 1), ("handled", 2), ("lines", 1), ("classes", 2)),
    ],
)
def test_syllables_are_counted_by_groups_of_vowels(word: str, expected: int) -> None:
    assert syllables(word) == expected


def test_sentences_end_at_stops_and_blank_lines_but_not_inside_names() -> None:
    assert len(sentences("Call os.path.join. It joins\n\nReturn: nothing")) == 4


def test_lines_of_interactive_examples_are_no_prose() -> None:
    assert words("Add them:\n>>> add(one, two)\n... more\nDone.") == ["Add", "them", "Done"]


def test_reading_ease_is_flesch_s_formula() -> None:
    prose = "The cat sat on the mat. " * 20  # six words of one syllable a sentence

    assert reading_ease(prose) == pytest.approx(206.835 - 1.015 * 6 - 84.6)


def test_too_few_words_have_no_reading_ease() -> None:
    assert reading_ease("The cat sat on the mat. " * 16) is None


def test_the_standard_library_has_several_hundred_modules_in_a_stable_order() -> None:
    names = modules.names()

    assert 300 <= len(names) <= 700
    assert names == sorted(set(names))
    assert {"ast", "asyncio", "asyncio.base_events", "json.decoder"} <= set(names)
    assert not [name for name in names if name.startswith(("test.", "idlelib", "encodings"))]


def test_every_listed_module_has_a_file() -> None:
    assert [name for name in modules.names() if not modules.source_file(name).is_file()] == []


def test_a_real_module_is_profiled_and_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    measures = modules.profile(job("textwrap"))

    assert json.loads(json.dumps(measures)) == measures
    assert measures["lines"] == len(Path(textwrap.__file__).read_text().splitlines())
    assert capsys.readouterr().out.startswith("textwrap: ")


@pytest.mark.parametrize("name", ["no_such_module", "../../etc/passwd", "", "a..b", "os/path", "a\0b"])
def test_what_is_no_module_is_rejected(name: str) -> None:
    with pytest.raises(Reject, match="cannot"):
        modules.profile(job(name))


@pytest.mark.parametrize(
    "content", [b"def broken(:\n", b"a = '\0'\n", b"\xff\xfe\n", b"# coding: nonsense\n"]
)
def test_what_cannot_be_parsed_is_rejected(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_bytes(content)

    with pytest.raises(Reject, match="cannot parse module 'broken'"):
        modules.measure_file("broken", file)


def result_line(module: str, source: str) -> str:
    return json.dumps({"record_id": module, "result": measure(source)})


def test_the_summary_ranks_the_most_complex_first() -> None:
    branches = "def knot(a):\n" + " if a: pass\n" * 30
    failed = json.dumps({"record_id": "broken", "result": None})

    summary = summarise([result_line("small", SMALL), result_line("tangled", branches), failed]).splitlines()

    assert summary[0].split() == ["modules", "2"]
    assert summary[1].split() == ["lines", "44", "38", "of", "them", "code"]
    heading = next(number for number, line in enumerate(summary) if line.startswith("most complex"))
    assert summary[heading + 1].split() == ["tangled", "knot", "31"]
    assert summary[heading + 2].split() == ["small", "first", "3"]


def test_the_summary_of_nothing_says_so() -> None:
    assert summarise([]) == "no results"


def run_program(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "buttermilkd.examples.modules", *arguments]
    folder = Path(__file__).parents[2]
    return subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=False)


def test_the_program_lists_the_records() -> None:
    finished = run_program("list")

    assert finished.returncode == 0
    assert finished.stdout.splitlines() == modules.names()


def test_the_program_lists_the_same_modules_as_files() -> None:
    files = run_program("list", "--paths").stdout.splitlines()

    assert len(files) == len(modules.names())
    assert all(Path(file).is_file() for file in files)


def test_the_program_sums_up_results_from_its_standard_input() -> None:
    finished = run_program("summary", given=result_line("small", SMALL) + "\n")

    assert finished.returncode == 0
    assert finished.stdout.startswith("modules  ")


def test_the_program_explains_itself_when_used_wrongly() -> None:
    finished = run_program("lost")

    assert finished.returncode == 2
    assert finished.stderr.startswith("usage: ")
