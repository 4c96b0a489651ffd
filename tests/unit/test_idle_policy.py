"""The idleness decision: its sentences."""

import pytest

from buttermilkd.idle.policy.observations import Departure, Jobs, Web
from buttermilkd.idle.policy.running import Stance
from buttermilkd.idle.policy.verdict import Verdict
from tests.unit.idle_watch import NOON, PROVEN, Mornings, Watch, in_flight, quiet, reporter, rules


def test_idle_says_for_how_long_and_what_allows_it() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, 14 * 60),)))
    assert verdict.sentence == "idle for 12 min: last request 14 min ago, other CPU 3 %"
    assert verdict.idle
    assert (verdict.starts_at, verdict.resumes_at) == (None, None)


def test_a_request_in_flight_is_busy() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, requests=1, requests_since=watch.now - 0.45),)))
    assert verdict.sentence == "busy: 1 request in flight for 0.4 s"
    assert verdict.starts_at is None


def test_websockets_and_requests_of_all_reporters_are_told_together() -> None:
    watch = Watch()
    web = Web(
        (
            reporter(watch.now, 3, websockets=2),
            reporter(watch.now, requests=1, requests_since=watch.now - 0.45),
        )
    )
    assert watch.see(web).sentence == (
        "busy: 2 websockets open, last message 3 s ago; 1 request in flight for 0.4 s"
    )


def test_after_the_last_request_it_says_when_jobs_start() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, 41.0),)))
    assert verdict.sentence == "cooling: last request 41 s ago; new jobs start in 79 s"
    assert (verdict.resumes_at, verdict.starts_at) == (None, watch.now + 79)


def test_and_when_suspended_ones_resume_where_there_are_any() -> None:
    watch = Watch()
    ended = watch.now
    watch.see(in_flight(watch.now), jobs=Jobs(suspend=1))
    watch.now += 41
    verdict = watch.see(quiet(watch.now, watch.now - ended), jobs=Jobs(suspend=1))
    assert (
        verdict.sentence
        == "cooling: last request 41 s ago; suspended jobs resume in 19 s, new ones start in 79 s"
    )
    assert (verdict.resumes_at, verdict.starts_at) == (ended + 60, ended + 120)


def test_what_was_suspended_late_is_told_to_stay_so_for_as_long_as_it_does() -> None:
    """Protected jobs go on beside people until others need the CPUs: 50 s after the last request."""
    watch = Watch()
    ended = watch.now

    def look(others: float) -> Verdict:
        web = quiet(watch.now, watch.now - ended)
        return watch.see(web, jobs=Jobs(auto=1), protection=PROVEN, measures={"others": others})

    for _ in range(50):
        look(0.01)
        watch.now += 1
    while watch.actions[-1].auto is Stance.GO_ON:
        told = look(0.3)
        watch.now += 1
    assert told.reasons == ("last request 52 s ago",)
    while watch.actions[-1].auto is Stance.STOP:
        look(0.3)
        watch.now += 1
    assert watch.now - 1 == told.resumes_at == ended + 72


def test_new_jobs_are_not_told_to_start_before_suspended_ones_may_go_on() -> None:
    watch = Watch(rules(quiet_for=5.0, start_after=10.0, websocket_start_after=25.0))
    ended = watch.now
    watch.see(in_flight(watch.now), jobs=Jobs(suspend=1))
    watch.now += 1
    told = watch.see(quiet(watch.now, 1.0), jobs=Jobs(suspend=1))
    assert (told.resumes_at, told.starts_at) == (ended + 20, ended + 20)


def test_nobody_foresees_when_suspended_jobs_resume_while_something_is_not_known() -> None:
    watch = Watch()
    watch.see(in_flight(watch.now), jobs=Jobs(suspend=1))
    watch.now += 1
    mute = reporter(watch.now, reported=False)
    verdict = watch.see(Web((reporter(watch.now, 1.0), mute)), jobs=Jobs(suspend=1))
    assert (verdict.resumes_at, verdict.starts_at) == (None, None)


def test_its_explanation_is_the_sentence_without_the_state() -> None:
    watch = Watch()
    cooling = watch.see(Web((reporter(watch.now, 70.0),)))
    assert cooling.explanation == "last request 70 s ago; new jobs start in 50 s"
    silent = watch.see(Web((reporter(watch.now - 22, 500),)))
    assert silent.explanation == 'web server "api" (pid 812) silent for 22 s; assuming busy'
    assert (
        Watch().see(Web((reporter(watch.now, 840),))).explanation == "last request 14 min ago, other CPU 3 %"
    )


def test_the_latest_of_several_reporters_counts() -> None:
    watch = Watch()
    web = Web((reporter(watch.now, 500), reporter(watch.now, 41), reporter(watch.now, 90)))
    assert watch.see(web).sentence.startswith("cooling: last request 41 s ago")


def test_a_silent_reporter_is_not_believed() -> None:
    watch = Watch()
    silent = reporter(watch.now - 22, 500)
    verdict = watch.see(Web((silent,)))
    assert verdict.sentence == 'unknown: web server "api" (pid 812) silent for 22 s; assuming busy'


def test_several_silent_reporters_are_counted() -> None:
    watch = Watch()
    verdict = watch.see(
        Web((reporter(watch.now - 5, 500), reporter(watch.now - 22, 500), reporter(watch.now, 500)))
    )
    assert verdict.reasons == ('web server "api" (pid 812) and 1 more silent for 22 s; assuming busy',)


def test_a_reporter_that_has_only_said_its_name_is_not_taken_for_quiet() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, reported=False, used=False),)))
    assert verdict.sentence == 'unknown: web server "api" (pid 812) connected, its first report is due'


def test_websockets_that_were_silent_for_long_are_forgotten_tabs() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, 47 * 60, websockets=1),)))
    assert verdict.sentence == "idle for 12 min: 1 forgotten tab silent for 47 min, other CPU 3 %"


@pytest.mark.parametrize(("idle", "state"), [(59, "busy"), (60, "cooling"), (299, "cooling"), (300, "idle")])
def test_a_websocket_is_busy_then_cooling_then_forgotten(idle: float, state: str) -> None:
    watch = Watch()
    assert watch.see(Web((reporter(watch.now, idle, websockets=1),))).state == state


def test_any_open_websocket_blocks_where_configured() -> None:
    watch = Watch(rules(websockets="open"))
    verdict = watch.see(Web((reporter(watch.now, 7200, websockets=1),)))
    assert verdict.sentence == "busy: 1 websocket open, last message 2 h ago"


def test_foreign_cpu_says_how_much_how_long_and_what_is_not_counted() -> None:
    watch = Watch()
    watch.states(15, lambda: watch.see(cpu=0.62, own=0.31))
    assert watch.verdicts[-1].sentence == (
        "busy: other processes use 62 % of CPU (limit 50 %, for 14 s); own jobs 31 % not counted"
    )
    watch.states(1, lambda: watch.see(cpu=0.4, own=0.31))
    assert watch.verdicts[-1].sentence == (
        "busy: other processes use 40 % of CPU (busy until under 25 %); own jobs 31 % not counted"
    )
    watch.states(13, lambda: watch.see(cpu=0.12))
    assert watch.verdicts[-1].sentence == (
        "cooling: other processes use 12 % of CPU (under 25 % for 12 s); new jobs start in 18 s"
    )


def test_reasons_come_worst_first_and_the_longest_wait_ends_the_sentence() -> None:
    watch = Watch()
    web = Web(
        (reporter(watch.now, 70, websockets=1), reporter(watch.now, 30)),
        Departure("docs", watch.now - 12, requests=1, websockets=3),
    )
    assert watch.see(web).sentence == (
        "cooling: 1 websocket open, last message 70 s ago; "
        'web server "docs" gone 12 s ago with 1 request in flight and 3 websockets open; '
        "last request 30 s ago; new jobs start in 4 min"
    )
    held = watch.see(web, holds=("paused by ada",), cpu=None)
    assert held.sentence.startswith(
        "held: paused by ada; use of the CPU is not known: a counter went backwards; 1 web"
    )


def test_no_web_server_at_all_leaves_the_decision_to_the_system() -> None:
    assert Watch().see().sentence == "idle for 12 min: no web server reports, other CPU 3 %"


def test_no_web_server_at_all_is_busy_where_configured() -> None:
    watch = Watch(rules(without_reporters="busy"))
    assert watch.see().sentence == 'busy: no web server reports (without_reporters = "busy")'
    assert watch.see(Web((reporter(watch.now, 500),))).idle


def test_a_web_server_that_nobody_has_used_yet_is_idle() -> None:
    watch = Watch()
    verdict = watch.see(Web((reporter(watch.now, 1, used=False),)))
    assert verdict.sentence == "idle for 12 min: no request so far, other CPU 3 %"


def test_outside_the_schedule_nothing_starts() -> None:
    watch = Watch(rules(allow=(Mornings(),)))
    assert watch.see(local=NOON).sentence == (
        "held: Mon 12:00 is outside the schedule (00:00-12:00), which opens Tue 00:00"
    )
    assert watch.verdicts[-1].starts_at == watch.now + 12 * 3600
    assert watch.see(local=NOON.replace(hour=11)).idle
