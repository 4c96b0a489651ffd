"""The idleness decision: what machines go through, second by second."""

from collections.abc import Iterator

from buttermilkd.idle.policy.decide import State
from buttermilkd.idle.policy.observations import Departure, Jobs, Refusal, Web
from buttermilkd.idle.policy.running import Stance
from buttermilkd.idle.policy.verdict import Verdict
from tests.unit.idle_watch import Watch, reporter


def test_after_a_start_it_waits_for_web_servers_to_report_and_then_believes_their_ages() -> None:
    watch = Watch(state=State.initial(10_000))
    watch.now += 1
    assert watch.see().sentence == "unknown: started 1 s ago; waiting for web servers to report"
    watch.now += 1
    assert watch.see(Web((reporter(watch.now, 121),))).idle
    busy = Watch(state=State.initial(10_000))
    busy.now += 1
    assert busy.see(Web((reporter(busy.now, requests=1, requests_since=busy.now),))).state == "busy"


def test_a_stray_bot_costs_one_cool_down() -> None:
    watch = Watch()
    hit = watch.now

    def quiet() -> Verdict:
        return watch.see(Web((reporter(watch.now, watch.now - hit),)))

    assert watch.states(119, quiet) == ["cooling"]
    assert watch.states(3600, quiet) == ["idle"]


def test_a_web_server_that_crashes_with_three_websockets_open_is_waited_for() -> None:
    watch = Watch()
    gone = Departure("api", watch.now - 12, requests=0, websockets=3)
    assert watch.see(Web(departure=gone)).sentence == (
        'cooling: web server "api" gone 12 s ago with 3 websockets open; waiting 108 s'
    )
    watch.now += 108
    assert watch.see(Web(departure=gone)).sentence == (
        'idle for 0.0 s: no web server reports, web server "api" gone 120 s ago with 3 websockets open, other CPU 3 %'
    )


def test_a_web_server_whose_report_was_refused_counts_as_busy_for_half_a_minute() -> None:
    watch = Watch()
    refused = Refusal('web server "api" (pid 812)', "over 50 lines a second", watch.now)
    watch.now += 2
    verdict = watch.see(Web(refusal=refused), jobs=Jobs(suspend=1))
    assert verdict.sentence == (
        'unknown: web server "api" (pid 812) was refused 2 s ago: over 50 lines a second; assuming busy'
    )
    assert watch.actions[-1].suspend is Stance.STOP
    watch.now += 28
    assert watch.see(Web(refusal=refused)).idle


def test_a_rolling_restart_of_a_quiet_web_server_interrupts_nothing() -> None:
    watch = Watch()
    old, active_at = reporter(watch.now, 500), watch.now - 500
    new = reporter(watch.now, 0, used=False, worker="w2")
    assert watch.see(Web((old, new))).idle
    assert watch.see(Web((new,), departed_active_at=active_at)).idle


def test_a_rolling_restart_keeps_the_cool_down_that_the_old_processes_had() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, 0, used=False),), departed_active_at=watch.now - 41))
    assert verdict.sentence == "cooling: last request 41 s ago; new jobs start in 79 s"


def test_a_jump_of_the_clock_and_a_sleep_are_unknown_for_one_look() -> None:
    watch = Watch()
    assert (
        watch.see(jump=-86_400.0).sentence == "unknown: the clock went back by 24 h (set by hand, or a sleep)"
    )
    assert watch.see().idle
    assert watch.see(gap=47.0).sentence == "unknown: nothing was observed for 47 s (overload, or a sleep)"
    assert watch.see().idle


def test_our_own_jobs_at_full_load_change_nothing() -> None:
    watch = Watch()
    assert watch.states(600, lambda: watch.see(cpu=0.02, own=0.98)) == ["idle"]


def test_a_counter_that_is_reset_is_unknown_for_one_look() -> None:
    watch = Watch()
    cpu: Iterator[float | None] = iter([0.1, None, 0.1])
    assert watch.states(3, lambda: watch.see(cpu=next(cpu))) == ["idle", "unknown", "idle"]


def test_a_burst_of_cpu_use_that_does_not_last_is_none() -> None:
    watch = Watch()
    assert watch.states(9, lambda: watch.see(cpu=0.9)) == ["idle"]
    assert watch.states(600, lambda: watch.see(cpu=0.4)) == ["idle"]


def test_cpu_use_that_lasts_is_busy_until_it_has_been_low_for_long_enough() -> None:
    watch = Watch()
    assert watch.states(60, lambda: watch.see(cpu=0.9)) == ["idle", "busy"]
    assert watch.states(31, lambda: watch.see(cpu=0.1)) == ["cooling", "idle"]
