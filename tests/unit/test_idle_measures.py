"""The idleness decision: what the machine does, measure by measure."""

import pytest

from buttermilkd.idle.policy.observations import Measure
from tests.unit.idle_watch import Watch, rules

WEB = "web servers"


@pytest.mark.parametrize(
    ("measure", "high", "busy_after", "reason"),
    [
        ("steal", 0.12, 10, "the host takes 12 % of CPU for others (limit 10 %, for 10 s)"),
        ("cpu_pressure", 0.14, 0, "web servers wait for CPU 14 % of the time (limit 10 %, for 0.0 s)"),
        ("io_pressure", 0.11, 0, "web servers wait for disks 11 % of the time (limit 10 %, for 0.0 s)"),
        (
            "memory_pressure",
            0.06,
            0,
            "everything waits for memory 6 % of the time (limit 5 %, for 0.0 s)",
        ),
        ("memory_available", 0.08, 0, "only 8 % of memory is available (limit 10 %, for 0.0 s)"),
    ],
)
def test_a_measure_beyond_its_limit_for_long_enough_is_busy_and_says_its_numbers(
    measure: str, high: float, busy_after: int, reason: str
) -> None:
    watch = Watch()
    subject = WEB if measure in ("cpu_pressure", "io_pressure") else ""

    def look() -> str:
        return watch.see(measures={measure: Measure(high, subject=subject)}).sentence

    assert watch.states(
        busy_after, lambda: watch.see(measures={measure: Measure(high, subject=subject)})
    ) == (["idle"] if busy_after else [])
    watch.now += 1
    assert look() == f"busy: {reason}"


@pytest.mark.parametrize(
    ("measure", "bad", "between", "good", "clear_for"),
    [
        ("steal", 0.5, 0.07, 0.01, 60),
        ("cpu_pressure", 0.5, 0.05, 0.01, 30),
        ("io_pressure", 0.5, 0.05, 0.01, 30),
        ("memory_pressure", 0.5, 0.02, 0.005, 60),
        ("memory_available", 0.02, 0.12, 0.4, 60),
    ],
)
def test_it_is_clear_again_only_after_it_has_been_well_within_for_longer(
    measure: str, bad: float, between: float, good: float, clear_for: int
) -> None:
    watch = Watch()
    watch.states(20, lambda: watch.see(measures={measure: bad}))
    assert watch.states(300, lambda: watch.see(measures={measure: between})) == ["busy"]
    assert watch.states(clear_for, lambda: watch.see(measures={measure: good})) == ["cooling"]
    assert watch.states(1, lambda: watch.see(measures={measure: good})) == ["idle"]


def test_a_measure_that_the_machine_does_not_tell_decides_nothing_and_says_why() -> None:
    watch = Watch()
    assert watch.see(measures={"io_pressure": Measure(missing="no PSI in this kernel")}).idle
    assert watch.reading("io pressure") == "missing: no PSI in this kernel"
    assert watch.reading("steal") == "missing: not measured"


def test_a_measure_that_goes_missing_while_busy_is_forgotten() -> None:
    watch = Watch()
    assert watch.see(measures={"cpu_pressure": 0.5}).state == "busy"
    watch.now += 1
    assert watch.see(measures={"cpu_pressure": Measure(missing="the web server is gone")}).idle


def test_a_measure_that_is_not_known_for_a_moment_stays_busy_if_it_was() -> None:
    watch = Watch()
    lost = Measure(problem="a counter went backwards")
    assert watch.see(measures={"steal": lost}).idle
    watch.states(12, lambda: watch.see(measures={"steal": 0.5}))
    assert (
        watch.see(measures={"steal": lost}).sentence
        == "unknown: steal is not known: a counter went backwards"
    )


def test_how_far_a_timer_has_come_is_told() -> None:
    watch = Watch()
    watch.states(5, lambda: watch.see(cpu=0.9))
    told = {reading.signal.name: reading.timer for reading in watch.verdicts[-1].readings}
    assert told["cpu"] == "beyond for 4 s of 10 s"
    watch.states(20, lambda: watch.see(cpu=0.9))
    watch.states(13, lambda: watch.see(cpu=0.1))
    told = {reading.signal.name: reading.timer for reading in watch.verdicts[-1].readings}
    assert told["cpu"] == "back for 12 s of 30 s"


def test_thresholds_are_those_of_the_configuration() -> None:
    watch = Watch(rules(io_pressure_busy=0.3, io_pressure_busy_for=4.0))
    assert watch.states(4, lambda: watch.see(measures={"io_pressure": 0.4})) == ["idle"]
    assert watch.states(1, lambda: watch.see(measures={"io_pressure": 0.4})) == ["busy"]
    signals = {reading.signal.name: reading.signal for reading in watch.verdicts[-1].readings}
    assert signals["io pressure"].busy_at == "over 30 % for 4 s"
    assert signals["memory"].busy_at == "under 10 %"
    assert signals["memory"].clear_at == "over 15 % for 60 s"


def test_the_load_average_is_shown_and_decides_nothing() -> None:
    watch = Watch()
    assert watch.see(average=(64.0, 32.5, 8.25)).idle
    assert watch.reading("load average") == "clear: 64.00 32.50 8.25"
    watch.see()
    assert watch.reading("load average") == "missing: not told by this system"


def test_an_estimate_of_our_own_use_is_marked() -> None:
    watch = Watch()
    watch.see(measures={"foreign": Measure(0.03, method="estimated")}, own=0.5)
    assert watch.reading("cpu") == "clear: others 3 %, own jobs 50 % (estimated)"
