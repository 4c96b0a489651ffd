"""The files in conf/ say what the code does: every key, with the default that the code has."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomli
from pydantic import BaseModel

from buttermilkd.config.changes import fixed
from buttermilkd.config.load import load
from buttermilkd.config.settings import FlowSettings, Settings
from buttermilkd.places import runtime_dir

CONF = Path(__file__).parents[2] / "conf"
FILES = ("buttermilkd.toml", "pubsub.toml")
COMMENTED = re.compile(r"^# (\[[a-z.]+\]|[a-z_]+ = .*)$")

EXAMPLES = {
    "queue",  # set in pubsub.toml
    "pubsub.project",
    "pubsub.credentials",
    "retention.remove_after",
    "retention.keep_batches",
    "activity.nginx",
    "activity.ports",
    "daemon.host",
    "daemon.state_dir",
    "daemon.runtime_dir",
    "flows.command",
    "flows.entrypoint",
    "flows.python",
    "flows.directory",
    "flows.records",
    "flows.records_command",
    "flows.records_field",
    "flows.concurrency",
    "flows.parameters",
    "flows.suspend_max",
    "flows.env",
    "flows.env_files",
}
"""Keys whose default depends on the surroundings, or is nothing: the files show an example."""


def uncommented(name: str) -> str:
    return "\n".join(COMMENTED.sub(r"\1", line) for line in (CONF / name).read_text().splitlines())


def settings_of(text: str, folder: Path) -> Settings:
    file = folder / "buttermilkd.toml"
    file.write_text(text)
    return load(file, {"HOME": str(folder)})


def keys_of_models() -> set[str]:
    keys = set()
    for name, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            keys |= {f"{name}.{key}" for key in model.model_fields}
        elif name != "flows":
            keys.add(name)
    return keys | {f"flows.{key}" for key in FlowSettings.model_fields if key != "name"}


def keys_of_document(document: dict[str, Any]) -> set[str]:
    keys = set()
    for name, value in document.items():
        if name == "flows":
            keys |= {f"flows.{key}" for flow in value.values() for key in flow}
        elif isinstance(value, dict):
            keys |= {f"{name}.{key}" for key in value}
        else:
            keys.add(name)
    return keys


@pytest.mark.parametrize("name", FILES)
def test_the_file_loads_as_it_stands_and_sets_nothing_but_its_queue(name: str, tmp_path: Path) -> None:
    settings = settings_of((CONF / name).read_text(), tmp_path)
    plain = settings_of("", tmp_path)
    changed = {key for key in Settings.model_fields if getattr(settings, key) != getattr(plain, key)}
    assert changed == ({"queue", "pubsub"} if name == "pubsub.toml" else set())


@pytest.mark.parametrize("name", FILES)
def test_the_file_holds_every_key_of_the_code_and_no_other(name: str) -> None:
    assert keys_of_document(tomli.loads(uncommented(name))) == keys_of_models()


@pytest.mark.parametrize("name", FILES)
def test_the_file_shows_the_defaults_of_the_code(name: str, tmp_path: Path) -> None:
    shown = settings_of(uncommented(name), tmp_path)
    bare = '[flows.summarise]\ncommand = ["true"]\n[flows.classify]\nentrypoint = "a:b"\n'
    defaults = settings_of(bare, tmp_path)
    differing = set()
    for table in Settings.model_fields:
        ours, theirs = getattr(shown, table), getattr(defaults, table)
        pairs = [(ours[flow], theirs[flow]) for flow in theirs] if table == "flows" else [(ours, theirs)]
        for one, other in pairs:
            if not isinstance(one, BaseModel):
                differing |= {table} if one != other else set()
                continue
            names = type(one).model_fields
            differing |= {f"{table}.{key}" for key in names if getattr(one, key) != getattr(other, key)}
    assert differing <= EXAMPLES


@pytest.mark.parametrize("name", FILES)
def test_each_key_is_explained_in_the_lines_above_it(name: str) -> None:
    lines = (CONF / name).read_text().splitlines()
    measures = ("foreign_cpu", "other_cpu", "steal", "cpu_pressure", "io_pressure", "memory_pressure")
    keys = ("busy_for", "clear", "clear_for")
    follows_on = {f"{measure}_{key}" for measure in (*measures, "memory_available") for key in keys}
    if name == "buttermilkd.toml":
        follows_on |= {
            "jobs_topic",
            "status_topic",
            "subscription",
            "status_subscription",
            "max_retries",
            "create",
            "credentials",
            "lease",
            "unknown_flow_after",
        }
    unexplained = [
        line
        for before, line in pairwise(lines)
        if (match := COMMENTED.match(line))
        and not match[1].startswith("[")
        and (not before.startswith("# ") or COMMENTED.match(before))
        and match[1].split(" = ")[0] not in follows_on
    ]
    assert unexplained == []


class Asked(dict[str, str]):
    """An environment without variables, which notes those that are asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        self.names.append(name)
        return default


@pytest.mark.parametrize("name", FILES)
def test_the_variables_that_decide_where_the_sockets_are_are_named_in_their_order(name: str) -> None:
    environ = Asked()
    runtime_dir(environ, Path("/state"), uid=1000)
    lines = (CONF / name).read_text().splitlines()
    (told,) = [before for before, line in pairwise(lines) if line.startswith("# runtime_dir = ")]
    assert re.findall(r"\$([A-Z_]+)", told) == environ.names


@pytest.mark.parametrize("name", FILES)
def test_keys_that_need_a_restart_are_marked_and_no_others(name: str) -> None:
    marked, table = set(), ""
    lines = (CONF / name).read_text().splitlines()
    for before, line in pairwise(lines):
        if match := re.match(r"^(?:# )?\[([a-z.]+)\]$", line):
            table = f"{match[1]}."
        if before.endswith("(restart)") and (match := re.match(r"^(?:# )?([a-z_]+) = ", line)):
            marked.add(f"{table}{match[1]}")
    queue = "pubsub" if name == "pubsub.toml" else "local"
    assert marked == {".".join(path) for path in fixed(queue)}
