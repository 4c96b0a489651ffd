"""A recorded trace, decided again with other settings."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from buttermilkd.config.idle import IdleSettings
from buttermilkd.errors import InvalidRequestError
from buttermilkd.idle.policy.observations import Load, Measure, Sample, Web
from buttermilkd.idle.trace import Encoder, Start
from buttermilkd.replay import replay
from tests.unit.idle_watch import NOON, RULES, in_flight, quiet, rules

HOUR = 3600


def record(
    folder: Path,
    web: Callable[[float], Web],
    seconds: int = HOUR,
    *,
    runs: int = 1,
    settings: IdleSettings = RULES,
) -> Path:
    """A trace of looks each second."""
    file = folder / "trace.jsonl"
    with file.open("w") as out:
        for run in range(runs):
            encoder = Encoder(Start("host", settings.written(), settings.given()), 0.0)
            out.write(f"{encoder.header}\n")
            for at in range(seconds):
                local = NOON + timedelta(seconds=at, hours=run)
                out.write(f"{encoder.line(Sample(web(at), Load(at, Measure(0.03)), local), at)}\n")
    return file


def request_each(seconds: int) -> Callable[[float], Web]:
    """A web server with a request of one second every so often."""
    return lambda at: in_flight(at) if at % seconds == 0 else quiet(at, at % seconds)


def test_the_settings_it_was_recorded_with_give_what_they_gave(tmp_path: Path) -> None:
    view = replay(record(tmp_path, lambda at: quiet(at, 1000 + at)), {})
    assert view["as_changed"] is None
    assert view["as_recorded"]["harvested_share"] == pytest.approx(1 - 2 / HOUR, abs=0.001)
    assert view["as_recorded"]["suspensions"] == 0


def test_other_settings_give_something_else(tmp_path: Path) -> None:
    view = replay(record(tmp_path, request_each(150)), {"idle.quiet_for": "20s"})
    recorded, changed = view["as_recorded"], view["as_changed"]
    assert changed is not None
    # 60 s of 150 are cool-down; later more, since people come too often. The first job waits for 120 s.
    assert 0.1 < recorded["harvested_share"] < 0.6
    assert changed["harvested_share"] > recorded["harvested_share"]
    assert changed["suspensions"] >= recorded["suspensions"] > 6


def test_waits_that_follow_from_one_that_is_changed_follow_it(tmp_path: Path) -> None:
    file = record(tmp_path, lambda at: in_flight(at) if at < 10 else quiet(at, at - 9), 100)
    view = replay(file, {"idle.quiet_for": "10s"})
    assert view["as_recorded"]["harvested_share"] == 0
    assert view["as_changed"] is not None
    assert view["as_changed"]["harvested_share"] == pytest.approx(0.7, abs=0.03)  # from 10 + 20 s on


def test_waits_that_somebody_has_set_stay_as_they_are(tmp_path: Path) -> None:
    configured = rules(start_after=70.0)
    file = record(
        tmp_path, lambda at: in_flight(at) if at < 10 else quiet(at, at - 9), 100, settings=configured
    )
    view = replay(file, {"idle.quiet_for": "10s"})
    assert view["as_changed"] is not None
    assert view["as_changed"]["harvested_share"] == pytest.approx(0.2, abs=0.03)  # from 10 + 70 s on
    with pytest.raises(
        InvalidRequestError, match=r"start_after: must not be shorter than quiet_for \(80 s\)"
    ):
        replay(file, {"idle.quiet_for": "80s"})


def test_what_the_daemon_takes_a_replay_takes_as_well(tmp_path: Path) -> None:
    file = record(tmp_path, request_each(150), 300)
    assert replay(file, {"idle.suspend_min": "15m"})["as_changed"] is not None


def test_several_runs_in_one_file_are_several_runs(tmp_path: Path) -> None:
    view = replay(record(tmp_path, lambda at: quiet(at, 1000 + at), 1800, runs=2), {})
    assert view["as_recorded"]["seconds"] == pytest.approx(2 * 1799, abs=1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"daemon.concurrency": "3"}, "cannot set daemon.concurrency in a replay"),
        ({"idle.quiet_for": "soon"}, "idle.quiet_for: must be a duration"),
        ({"idle.quiet_fro": "30s"}, 'idle.quiet_fro: unknown key; did you mean "quiet_for"?'),
        ({"idle.steal_busy": "0.01"}, "idle.steal_busy: must be above steal_clear (0.05 by default)"),
    ],
)
def test_what_cannot_be_set_is_refused(tmp_path: Path, changes: dict[str, str], why: str) -> None:
    file = record(tmp_path, quiet, 3)
    with pytest.raises(InvalidRequestError) as refused:
        replay(file, changes)
    assert why in str(refused.value)


def test_a_file_that_is_no_trace_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    no_json = "it is no recording of buttermilkd --record (line 1 is not JSON)"
    for content, why in (("hello\n", no_json), ("", "it is empty")):
        file.write_text(content)
        with pytest.raises(InvalidRequestError) as refused:
            replay(file, {})
        assert why in str(refused.value)
        assert refused.value.hint == "record one with buttermilkd --record FILE"
    with pytest.raises(InvalidRequestError, match="No such file"):
        replay(tmp_path / "missing", {})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequestError, match="it is not UTF-8 text"):
        replay(file, {})


def test_it_is_assumed_that_jobs_always_wait(tmp_path: Path) -> None:
    """The jobs that ran when it was recorded do not matter."""
    quiet_web = record(tmp_path, lambda at: quiet(at, 1000 + at), 100)
    with_jobs = tmp_path / "other.jsonl"
    with_jobs.write_text(quiet_web.read_text().replace('"jobs":[0,0,0,0]', '"jobs":[0,9,0,0]'))
    assert replay(quiet_web, {})["as_recorded"] == replay(with_jobs, {})["as_recorded"]
