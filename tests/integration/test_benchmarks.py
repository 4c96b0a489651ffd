"""The harness of benchmarks at work, on the smallest sizes: its figures mean nothing here."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.benchmarks import __main__ as program
from tests.benchmarks import document
from tests.benchmarks.report import Effort, Report
from tests.benchmarks.service import until

ROOT = Path(__file__).parents[2]


def test_a_benchmark_measures_its_reference_beside_it_and_writes_down_what_it_found(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.benchmarks", "create", "--tiny", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (found,) = json.loads(file.read_text())["benchmarks"]
    assert found["error"] is None
    assert found["missing"] == {}
    (samples,) = found["samples"].values()
    assert all(len(values) == 1 and values[0] > 0 for values in samples.values())
    assert "the same rows by bare executemany" in samples
    ours, theirs = (values[0] for values in samples.values())
    times, memory = found["goals"]
    assert (times["value"], times["bound"], times["at_least"]) == (pytest.approx(ours / theirs), 2, False)
    assert times["met"] == (times["value"] <= 2)
    assert "memory of the daemon" in done.stdout
    assert memory["unit"] == "MiB"


def test_a_benchmark_that_fails_says_so_and_fails_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    failed = program.run("nowhere", Effort.TINY, huge=False)
    program.sum_up([failed, Report("other")])
    assert failed.error is not None
    assert failed.summary() == [
        ["nowhere", "failed: ModuleNotFoundError: No module named 'tests.benchmarks.nowhere'", "", "", "NO"]
    ]
    assert "failed: ModuleNotFoundError" in capsys.readouterr().out


def test_a_benchmark_that_hangs_is_ended() -> None:
    with pytest.raises(TimeoutError, match="not done within 1 s"), program.limited(1):
        signal.sigtimedwait([], 30)


def daemon_of(run: int) -> int | None:
    """The daemon that a run of benchmarks has started; None where there is none yet."""
    daemons = (
        process.pid for process in psutil.Process(run).children() if "buttermilkd" in process.cmdline()
    )
    return next(daemons, None)


def test_a_run_that_is_ended_by_a_signal_ends_the_daemon_that_it_has_started() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "waiting", "memory", "start", "--tiny"]
    # A folder with a short name: the daemon's sockets are in it.
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {"TMPDIR": folder}
        with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as run:
            until(lambda: run.poll() is not None or list(Path(folder).glob("*/run/control.sock")), "a daemon")
            daemon = daemon_of(run.pid)
            run.terminate()
            assert run.wait() == 128 + signal.SIGTERM
        assert daemon is not None
        assert not psutil.pid_exists(daemon)
        assert list(Path(folder).iterdir()) == []


def test_a_benchmark_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["drane"])
    assert ended.value.code == 2
    assert "there is no benchmark 'drane'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "met"),
    [(2.0, 2.0, False, True), (2.1, 2.0, False, False), (0.9, 0.9, True, True), (0.8, 0.9, True, False)],
)
def test_a_goal_is_met_at_its_bound_and_not_beyond_it(
    value: float, bound: float, at_least: bool, met: bool
) -> None:
    report = Report("one")
    report.goal("times", value, bound, at_least=at_least)
    (row,) = report.summary()
    assert row[-1] == ("yes" if met else "NO")


def test_our_ratio_to_each_reference_is_that_of_medians() -> None:
    report = Report("one")
    medians = report.compare("t", "s", {"ours": [1.0, 2.0, 9.0], "theirs": [4.0]}, ours="ours")
    assert medians == {"ours": 2.0, "theirs": 4.0}
    assert report.tables[0]["rows"] == [
        ["ours", "2.00", "1.00 to 9.00", "3", "1.00"],
        ["theirs", "4.00", "4.00 to 4.00", "1", "0.50"],
    ]


def test_figures_take_their_place_in_the_document_and_leave_the_rest_as_it_is(tmp_path: Path) -> None:
    report = Report("one")
    report.show("title", ["", "jobs/s"], [["ours", "9"]], "a note")
    report.lacks("theirs", "it is not installed")
    report.goal("times theirs", 1.0, 2.0, at_least=True)
    goals = "<!-- goals -->\n<!-- end of goals -->\n"
    text = f"{goals}before\n<!-- one -->\nold\n<!-- end of one -->\n<!-- two -->\nkept\n<!-- end of two -->\nafter\n"
    (tmp_path / "B.md").write_text(text)
    found = program.surroundings(Effort.QUICK) | {"benchmarks": [report.document()]}
    for _ in range(2):
        document.write(found, tmp_path / "B.md")
    written = (tmp_path / "B.md").read_text()
    assert "\nbefore\n<!-- one -->\n\nMeasured on " in written
    assert written.endswith("<!-- end of one -->\n<!-- two -->\nkept\n<!-- end of two -->\nafter\n")
    assert "| ours | 9 |\n\na note\n\nNot run: theirs: it is not installed\n\n" in written
    assert "\n| times theirs | 1.00 | ≥ 2.00 | **no** |" in written
    assert written.startswith("<!-- goals -->\n\n| Benchmark | Goal | measured | bound | met |\n")
    assert written.count("\n| one | times theirs | 1.00 | ≥ 2.00 | **no** |\n") == 1
    assert "old" not in written


def test_figures_without_a_place_in_the_document_are_refused() -> None:
    with pytest.raises(document.NoPlaceError, match="no one place for one"):
        document.placed("<!-- one -->\nwithout an end", "one", "figures")


def test_every_benchmark_is_named_where_people_look_for_it() -> None:
    told = (ROOT / "scripts" / "bench").read_text()
    assert [name for name in program.BENCHMARKS if name not in told] == []
    page = document.FILE.read_text()
    for name in program.BENCHMARKS:
        assert "\n\nx\n\n" in document.placed(page, name, "\n\nx\n\n")
