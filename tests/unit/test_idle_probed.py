"""The idleness decision on servers that are looked at from outside."""

from dataclasses import replace

from buttermilkd.idle.policy.observations import Jobs, Web
from buttermilkd.idle.policy.running import Stance
from tests.unit.idle_watch import Watch, reporter, rules


def test_who_is_connected_is_busy_and_named() -> None:
    watch = Watch()
    ssh = reporter(watch.now, app="ssh", kind="port", requests=2, requests_since=watch.now - 300)
    nginx = reporter(watch.now, app="nginx", kind="nginx", requests=1, requests_since=watch.now - 4)
    verdict = watch.see(Web((ssh, nginx)), jobs=Jobs(suspend=1))
    assert verdict.sentence == "busy: 2 connections to ssh for 5 min; 1 request in flight at nginx for 4 s"
    assert verdict.cause == "probes"
    assert watch.actions[-1].suspend is Stance.STOP


def test_after_the_last_of_them_jobs_wait_as_after_a_request() -> None:
    watch = Watch()
    ssh = reporter(watch.now, 41, app="ssh", kind="port")
    nginx = reporter(watch.now, 500, app="nginx", kind="nginx")
    verdict = watch.see(Web((ssh, nginx)))
    assert verdict.sentence == "cooling: last connection at ssh 41 s ago; new jobs start in 79 s"
    watch.now += 79
    later = Web((replace(ssh, heard_at=watch.now), replace(nginx, heard_at=watch.now)))
    assert "last connection at ssh 120 s ago" in watch.see(later).reasons


def test_web_servers_that_report_are_told_apart_from_them() -> None:
    watch = Watch()
    port = reporter(watch.now, app="jupyter", kind="port", requests=1, requests_since=watch.now)
    watch.see(Web((reporter(watch.now, 500), port)))
    assert watch.reading("requests") == "clear: none in flight, last 8 min ago"
    assert watch.reading("probes") == "busy: 1 connection to jupyter"
    watch.see(Web((reporter(watch.now, 500),)))
    assert "probes" not in {one.signal.name for one in watch.verdicts[-1].readings}


def test_they_stand_in_for_no_web_server_that_should_report() -> None:
    watch = Watch(rules(without_reporters="busy"))
    verdict = watch.see(Web((reporter(watch.now, 500, app="ssh", kind="port"),)))
    assert verdict.sentence == 'busy: no web server reports (without_reporters = "busy")'


def test_nobody_there_so_far_is_idle() -> None:
    watch = Watch()
    unused = reporter(watch.now, used=False, app="ssh", kind="port")
    assert watch.see(Web((unused,))).idle


def test_what_cannot_be_looked_at_counts_as_busy_and_says_why() -> None:
    watch = Watch()
    blind = reporter(watch.now, 500, app="nginx", kind="nginx", problem="http://x: Connection refused")
    verdict = watch.see(Web((blind,)), jobs=Jobs(suspend=1))
    assert verdict.sentence == (
        "unknown: what the users of nginx do is not known (http://x: Connection refused); assuming busy"
    )
    assert watch.actions[-1].suspend is Stance.STOP
