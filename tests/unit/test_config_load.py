import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from buttermilkd.config.load import load
from buttermilkd.config.settings import FlowSettings, Settings
from buttermilkd.places import Places

FLOW = '[flows.x]\ncommand = ["work", "{record_id}"]\n'


class Folder:
    """A folder of configuration, loaded as a machine with nothing else on it would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": str(path / "home")}

    def write(self, text: str, name: str = "main.toml") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def load(self, text: str = "", overrides: dict[str, Any] | None = None) -> Settings:
        system = Places(self.path / "etc.toml", self.path / "var", self.path / "run")
        return load(self.write(text), self.environ, overrides, system=system)

    def flow(self, text: str) -> FlowSettings:
        return self.load(text).flows["x"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_no_file_at_all_is_fine(tmp_path: Path) -> None:
    system = Places(tmp_path / "etc.toml", tmp_path / "var", tmp_path / "run")
    environ = {"HOME": str(tmp_path), "STATE_DIRECTORY": str(tmp_path / "state")}
    settings = load(None, environ, system=system)
    assert (settings.queue, settings.flows) == ("local", {})
    assert settings.daemon.state_dir == tmp_path / "state"


def test_the_defaults_are_those_of_the_interfaces(folder: Folder) -> None:
    settings = folder.load()
    assert settings.daemon.concurrency == 2
    assert settings.daemon.drain_timeout == 60
    assert (settings.idle.quiet_for, settings.idle.start_after) == (60, 120)
    assert settings.idle.websocket_start_after == 300
    assert (settings.idle.foreign_cpu_busy, settings.idle.foreign_cpu_clear) == (0.5, 0.25)
    assert (settings.activity.socket_mode, settings.control.socket_mode) == (0o666, 0o660)
    assert settings.pubsub.status_subscription == "flow-sub-{host}"
    assert settings.pubsub.credentials is None
    assert (settings.pubsub.lease, settings.pubsub.unknown_flow_after) == (300, 600)


def test_later_layers_count_over_earlier_ones(folder: Folder) -> None:
    text = "[daemon]\nconcurrency = 3\nmax_interruptions = 4\n"
    assert folder.load(text).daemon.concurrency == 3
    folder.write("[daemon]\nconcurrency = 5\n", "conf.d/20.toml")
    folder.write("[daemon]\nconcurrency = 4\n", "conf.d/10.toml")
    assert folder.load(text).daemon.concurrency == 5
    folder.environ["BUTTERMILKD_DAEMON__CONCURRENCY"] = "6"
    assert folder.load(text).daemon.concurrency == 6
    settings = folder.load(text, {"daemon.concurrency": 7})
    assert (settings.daemon.concurrency, settings.daemon.max_interruptions) == (7, 4)


def test_tables_merge_and_lists_are_replaced(folder: Folder) -> None:
    folder.write('[flows.x]\nenv = { B = "2" }\nrecords = ["c"]\n', "conf.d/more.toml")
    flow = folder.flow(f'{FLOW}env = {{ A = "1", B = "1" }}\nrecords = ["a", "b"]\n')
    assert flow.env == {"A": "1", "B": "2"}
    assert flow.records == ["c"]


def test_environment_variables_set_keys_in_any_case_and_of_any_kind(folder: Folder) -> None:
    folder.environ |= {
        "BUTTERMILKD_QUEUE": "pubsub",
        "BUTTERMILKD_PUBSUB__PROJECT": "my-project",
        "BUTTERMILKD_idle__quiet_for": "5s",
        "BUTTERMILKD_IDLE__ALLOW": '["Sat", "Sun"]',
        "BUTTERMILKD_CONTROL__SOCKET_MODE": "0600",
        "BUTTERMILKD_FLOWS__SLOW_ONE__TIMEOUT": "2h",
        "BUTTERMILKD_FLOWS__SLOW_ONE__ENV__Threads": "1",
        "BUTTERMILKD_FLOWS__NEW": '{ entrypoint = "a:b" }',
    }
    settings = folder.load('[flows.Slow_One]\ncommand = ["work"]\n')
    assert (settings.queue, settings.pubsub.project) == ("pubsub", "my-project")
    assert settings.idle.quiet_for == 5
    assert [str(window) for window in settings.idle.allow] == ["Sat", "Sun"]
    assert settings.control.socket_mode == 0o600
    assert settings.flows["Slow_One"].timeout == 7200
    assert settings.flows["Slow_One"].env == {"Threads": "1"}
    assert settings.flows["new"].entrypoint == "a:b"


def test_other_variables_of_the_prefix_are_left_alone(folder: Folder) -> None:
    for name in ("CONFIG", "RUNTIME_DIR", "ACTIVITY_SOCKET", "CONTROL_SOCKET"):
        folder.environ[f"BUTTERMILKD_{name}"] = str(folder.path)
    settings = folder.load()
    assert settings.daemon.runtime_dir == folder.path


def test_relative_paths_are_relative_to_the_file_that_they_are_written_in(folder: Folder) -> None:
    folder.write('[flows.x]\nenv_files = { KEY = "key" }\n', "conf.d/secret.toml")
    text = (
        '[daemon]\nstate_dir = "state"\nruntime_dir = "run"\n[pubsub]\ncredentials = "key.json"\n'
        '[flows.x]\nentrypoint = "a:b"\npython = "venv/bin/python"\ndirectory = "work"\nrecords = "in/*.txt"\n'
    )
    settings = folder.load(text)
    flow = settings.flows["x"]
    assert settings.daemon.state_dir == folder.path / "state"
    assert settings.daemon.runtime_dir == folder.path / "run"
    assert settings.pubsub.credentials == folder.path / "key.json"
    assert flow.env_files == {"KEY": folder.path / "conf.d/key"}
    assert flow.python == str(folder.path / "venv/bin/python")
    assert flow.directory == folder.path / "work"
    assert flow.records == "in/*.txt"


def test_a_flow_works_in_the_folder_of_the_file_that_says_what_it_runs(folder: Folder) -> None:
    folder.write(FLOW, "conf.d/flow.toml")
    assert folder.flow('[flows.x]\ntimeout = "1m"\n').directory == folder.path / "conf.d"


def test_the_project_falls_back_to_that_of_google_cloud(folder: Folder) -> None:
    folder.environ["GOOGLE_CLOUD_PROJECT"] = "theirs"
    assert folder.load('queue = "pubsub"').pubsub.project == "theirs"
    assert folder.load('[pubsub]\nproject = "ours"').pubsub.project == "ours"


def test_start_times_are_derived_from_the_quiet_time(folder: Folder) -> None:
    idle = folder.load('[idle]\nquiet_for = "10s"').idle
    assert (idle.start_after, idle.websocket_start_after) == (20, 50)
    assert folder.load('[idle]\nquiet_for = "10s"\nstart_after = "10s"').idle.start_after == 10


def test_retries_of_the_queue_are_those_of_flows_that_set_none(folder: Folder) -> None:
    text = f'queue = "pubsub"\n[pubsub]\nproject = "p"\nmax_retries = 7\n{FLOW}'
    assert folder.flow(text).max_retries == 7
    assert folder.flow(f"{text}max_retries = 1\n").max_retries == 1
    assert folder.flow(text.replace("pubsub", "local", 1)).max_retries == 3


def test_settings_are_frozen(folder: Folder) -> None:
    settings = folder.load(FLOW)
    for table, key in (
        (settings.flows["x"], "timeout"),
        (settings.daemon, "concurrency"),
        (settings, "queue"),
    ):
        with pytest.raises(ValidationError):
            setattr(table, key, 1)


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read(folder: Folder) -> None:
    assert folder.load("\ufeff[daemon]\r\nconcurrency = 3\r\n").daemon.concurrency == 3


def test_a_command_runs_as_many_jobs_as_the_daemon_unless_it_says(folder: Folder) -> None:
    flow = folder.flow(FLOW)
    assert (flow.kind, flow.concurrency, flow.limit(8)) == ("command", None, 8)
    limited = folder.flow(f"{FLOW}concurrency = 3\n")
    assert (limited.limit(8), limited.limit(2)) == (3, 2)
    assert flow.runs == "command work '{record_id}'"


def test_a_callable_runs_one_job_in_each_worker_unless_it_says(folder: Folder) -> None:
    text = '[flows.x]\nentrypoint = "study.flows:classify"\nworkers = 2\n'
    flow = folder.flow(text)
    assert (flow.kind, flow.limit(8)) == ("callable", 2)
    assert folder.flow(f"{text}concurrency = 3\n").limit(8) == 6
    assert folder.flow(f"{text}concurrency = 3\n").limit(4) == 4
    assert flow.python == sys.executable
    assert flow.runs == f"callable study.flows:classify in {sys.executable}"


def test_a_flows_version_is_a_digest_of_what_decides_its_results(folder: Folder) -> None:
    plain = folder.flow(FLOW).version
    assert len(plain) == 12
    assert int(plain, 16) >= 0
    assert folder.flow(FLOW).version == plain
    assert folder.flow(f'{FLOW}timeout = "1s"\nshuffle = true\n').version == plain
    assert folder.flow(f"{FLOW}parameters = {{ a = 1 }}\n").version != plain
    assert folder.flow(f'{FLOW}directory = "elsewhere"\n').version != plain
    assert folder.flow(f'{FLOW}env = {{ A = "1" }}\n').version != plain
    assert folder.flow(FLOW.replace("work", "play")).version != plain
