"""What a configuration that is read again changes, decided on two configurations and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from buttermilkd.config.changes import Changes, compare
from buttermilkd.config.in_force import FlowsInForce, InForce
from buttermilkd.config.load import load
from buttermilkd.config.settings import Settings

A = '[flows.a]\ncommand = ["a"]\n'
B = '[flows.b]\nentrypoint = "b:c"\n'
CLOUD = 'queue = "pubsub"\n[pubsub]\nproject = "p"\n'

Load = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Load:
    def load_text(text: str, queue: str | None = None) -> Settings:
        file = tmp_path / "buttermilkd.toml"
        file.write_text(text)
        return load(file, {"HOME": str(tmp_path)}, queue=queue)

    return load_text


@pytest.fixture
def changed(settings: Load) -> Callable[[str, str], Changes]:
    def between(before: str, after: str) -> Changes:
        old = settings(before)
        return compare(old, settings(after, old.queue))

    return between


Changed = Callable[[str, str], Changes]


def test_the_same_configuration_changes_nothing(settings: Load) -> None:
    text = f'{CLOUD}[daemon]\nconcurrency = 3\n[idle]\nallow = ["Sat"]\n{A}{B}'
    same = compare(settings(text), settings(text))
    assert (same.lines, same.needs_restart, same.in_force) == ([], (), settings(text))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("[daemon]\nconcurrency = 2", "[daemon]\nconcurrency = 4", "daemon.concurrency: 2 → 4"),
        (
            '[daemon]\ndrain_timeout = "1m"',
            '[daemon]\ndrain_timeout = "5s"',
            "daemon.drain_timeout: 60s → 5s",
        ),
        ("", "[idle]\nsteal_busy = 0.2", "idle.steal_busy: 0.1 → 0.2"),
        ("", '[idle]\nallow = ["Sat", "Sun"]', "idle.allow: [] → [Sat, Sun]"),
        ("", '[idle]\nsuspend_max = "20m"', "idle.suspend_max: 600s → 1200s"),
        ("", '[control]\nadmin_groups = ["a", "b"]', "control.admin_groups: [buttermilk] → [a, b]"),
        ("", "[activity.ports]\nssh = 22", "activity.ports: {} → {'ssh': (22,)}"),
        (
            "",
            '[activity.nginx]\nstub_status = "http://h/s"',
            "activity.nginx.stub_status: not set → http://h/s",
        ),
        ("", A, "flow a added"),
        (A, "", "flow a removed"),
        (A, f'{A}timeout = "1m"\nenv = {{ KEY = "secret" }}', "flow a (timeout, env) changed"),
    ],
)
def test_what_holds_at_once_is_told_as_before_and_after(
    changed: Changed, before: str, after: str, line: str
) -> None:
    found = changed(before, after)
    assert (found.lines, found.needs_restart) == ([line], ())


def test_a_duration_that_follows_from_another_changes_with_it(changed: Changed) -> None:
    assert changed("", '[idle]\nquiet_for = "10s"').lines == [
        "idle.quiet_for: 60s → 10s",
        "idle.start_after: 120s → 20s",
        "idle.websocket_start_after: 300s → 50s",
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", CLOUD, "queue: local → pubsub"),
        ('[daemon]\nhost = "a"', '[daemon]\nhost = "b"', "daemon.host: a → b"),
        (
            '[daemon]\nstate_dir = "/a"\nruntime_dir = "/r"',
            '[daemon]\nstate_dir = "/b"\nruntime_dir = "/r"',
            "daemon.state_dir: /a → /b",
        ),
        ('[daemon]\nruntime_dir = "/a"', '[daemon]\nruntime_dir = "/b"', "daemon.runtime_dir: /a → /b"),
        ("", '[activity]\nsocket_mode = "0600"', "activity.socket_mode: 0666 → 0600"),
        ("", '[control]\nsocket_mode = "0666"', "control.socket_mode: 0660 → 0666"),
        (CLOUD, f'{CLOUD}lease = "60s"', "pubsub.lease: 300s → 60s"),
        (CLOUD, f"{CLOUD}create = true", "pubsub.create: false → true"),
        (CLOUD, f'{CLOUD}credentials = "/key"', "pubsub.credentials: not set → /key"),
    ],
)
def test_what_the_daemon_is_built_on_stays_and_is_named(
    settings: Load, changed: Changed, before: str, after: str, told: str
) -> None:
    found = changed(before, after)
    assert [str(one) for one in found.needs_restart] == [told]
    assert found.lines == []
    assert compare(settings(before), found.in_force).needs_restart == ()


def test_both_kinds_may_come_together(changed: Changed) -> None:
    found = changed("", f'[daemon]\nconcurrency = 5\nhost = "h"\n{A}')
    assert found.lines == ["daemon.concurrency: 2 → 5", "flow a added"]
    assert [one.key for one in found.needs_restart] == ["daemon.host"]
    assert found.in_force.daemon.concurrency == 5
    assert found.in_force.daemon.host != "h"


def test_what_needs_a_restart_is_named_again_at_each_reload_until_there_was_one(settings: Load) -> None:
    first = compare(settings(""), settings('[daemon]\nhost = "h"'))
    again = compare(first.in_force, settings('[daemon]\nhost = "h"'))
    assert again.needs_restart == first.needs_restart
    assert compare(again.in_force, settings("")).needs_restart == ()


def test_where_pubsub_is_not_used_its_keys_change_nothing(changed: Changed) -> None:
    found = changed("", '[pubsub]\nlease = "60s"\nproject = "p"')
    assert (found.lines, found.needs_restart) == ([], ())


def test_with_pubsub_the_retries_of_flows_that_set_none_change_at_once(changed: Changed) -> None:
    found = changed(f"{CLOUD}{A}{B}max_retries = 1", f"{CLOUD}max_retries = 7\n{A}{B}max_retries = 1")
    assert (found.lines, found.needs_restart) == (["flow a (max_retries) changed"], ())
    assert found.in_force.flows["a"].max_retries == 7


def test_a_queue_that_waits_for_a_restart_gives_no_retries_before(changed: Changed) -> None:
    found = changed(A, f"{CLOUD}max_retries = 7\n{A}")
    assert (found.lines, found.in_force.flows["a"].max_retries) == ([], 3)


def test_what_needs_no_restart_is_in_force_whatever_key_it_is(settings: Load) -> None:
    after = settings(f"{CLOUD}[daemon]\nconcurrency = 9\n{A}")
    found = compare(settings(CLOUD), after)
    assert found.in_force == after


# The settings in force


def test_who_holds_the_flows_sees_what_is_put_in_force(settings: Load) -> None:
    in_force = InForce(settings(A))
    held = in_force.flows
    in_force.put(settings(B))
    assert dict(held) == dict(settings(B).flows)
    assert list(held) == ["b"]


def test_a_removed_flow_is_remembered_as_it_was_last(settings: Load) -> None:
    flows = FlowsInForce(settings(A).flows)
    flows.replace(settings(f'{A}grace = "1s"').flows)
    flows.replace({})
    assert "a" not in flows
    assert flows.last_known("a").grace == 1
    flows.replace(settings(A).flows)
    assert flows.last_known("a").grace == 10
    with pytest.raises(KeyError):
        flows.last_known("never")


def test_going_through_the_flows_is_not_disturbed_by_a_reload(settings: Load) -> None:
    flows = FlowsInForce(settings(A + B).flows)
    seen = []
    for name in flows:
        flows.replace({})
        seen.append(name)
    assert seen == ["a", "b"]
