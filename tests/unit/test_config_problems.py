"""Every mistake is one line: where it is, which key, what is wrong, and what may be meant."""

import os
from pathlib import Path

import pytest

from buttermilkd.config.load import load
from buttermilkd.errors import Exit, MisconfiguredError
from buttermilkd.places import Places


def problems(
    file: Path, text: str | bytes, environ: dict[str, str] | None = None, **flags: object
) -> list[str]:
    """The problems in this text, without the folder of the file."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    folder = file.parent
    system = Places(folder / "etc.toml", folder / "var", folder / "run")
    overrides = {key.replace("__", "."): value for key, value in flags.items()}
    with pytest.raises(MisconfiguredError) as caught:
        load(file, {"HOME": str(folder), **(environ or {})}, overrides, system=system)
    assert caught.value.exit_code is Exit.BAD_CONFIG
    assert caught.value.problems[0] in str(caught.value)
    assert caught.value.hint
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "b.toml"


LIST_OF_WINDOWS = '["22:00-07:00", "Sat", "Mon-Fri 20:00-06:00"]'
FORMS_OF_WINDOWS = 'window such as "22:00-07:00", "Sat" or "Mon-Fri 20:00-06:00"'

ONE_PROBLEM = [
    ('queue = "pubsb"', '1: queue: must be "local" or "pubsub", not "pubsb"; did you mean "pubsub"?'),
    ("queue = 1", '1: queue: must be "local" or "pubsub", not 1'),
    (
        'queue = "pubsub"',
        '1: queue: "pubsub" needs the Google Cloud project: set pubsub.project or $GOOGLE_CLOUD_PROJECT',
    ),
    ("[demon]\nx = 1", '1: demon: unknown key; did you mean "daemon"?'),
    ("[daemon]\nzebra = 1", "2: daemon.zebra: unknown key"),
    ("quiet_for = 1", '1: quiet_for: unknown key; did you mean "idle.quiet_for"?'),
    ("[daemon]\ntimeout = 1", '2: daemon.timeout: unknown key; did you mean "flows.NAME.timeout"?'),
    ("[daemon]\nDrain-Timeout = 1", '2: daemon.Drain-Timeout: unknown key; did you mean "drain_timeout"?'),
    ("daemon = 3", "1: daemon: must be a table, not 3"),
    ("flows = 3", "1: flows: must be a table, not 3"),
    ("[flows]\nx = 3", "2: flows.x: must be a table, not 3"),
    ("[[daemon]]", "1: daemon: must be a table, not [{}]"),
    ("[daemon]\nconcurrency = 0", "2: daemon.concurrency: must be from 1 to 1,024, not 0"),
    ("[daemon]\nconcurrency = 1025", "2: daemon.concurrency: must be from 1 to 1,024, not 1025"),
    ('[daemon]\nconcurrency = "2"', '2: daemon.concurrency: must be a whole number such as 2, not "2"'),
    ("[daemon]\nconcurrency = 2.0", "2: daemon.concurrency: must be a whole number such as 2, not 2.0"),
    ("[daemon]\nconcurrency = true", "2: daemon.concurrency: must be a whole number such as 2, not true"),
    (
        "[daemon]\n\ndrain_timeout = 30",
        '3: daemon.drain_timeout: must be a duration such as "30s" (units: ms, s, m, h, d), not 30',
    ),
    (
        '[daemon]\ndrain_timeout = "1 minute"',
        '2: daemon.drain_timeout: must be a duration such as "30s" (units: ms, s, m, h, d), not "1 minute"',
    ),
    ("[daemon]\nstate_dir = []", "2: daemon.state_dir: must be a path in quotes, not []"),
    ('[daemon]\nstate_dir = "a\\u0000"', "2: daemon.state_dir: must not contain a NUL character"),
    ('[daemon]\nstate_dir = ""', "2: daemon.state_dir: must not be empty"),
    ('[idle]\nstart_after = "30s"', "2: idle.start_after: must not be shorter than quiet_for (60 s)"),
    (
        '[idle]\nquiet_for = "10m"\nwebsocket_start_after = "5m"',
        "3: idle.websocket_start_after: must not be shorter than quiet_for (600 s)",
    ),
    (
        "[idle]\nforeign_cpu_busy = 50",
        "2: idle.foreign_cpu_busy: must be a fraction over 0 and up to 1, not 50",
    ),
    (
        "[idle]\nforeign_cpu_busy = nan",
        "2: idle.foreign_cpu_busy: must be a fraction over 0 and up to 1, not NaN",
    ),
    (
        '[idle]\nforeign_cpu_busy = "50 %"',
        '2: idle.foreign_cpu_busy: must be a fraction such as 0.5, not "50 %"',
    ),
    ("[idle]\nforeign_cpu_clear = 0.5", "2: idle.foreign_cpu_clear: must be below foreign_cpu_busy (0.5)"),
    (
        "[idle]\nforeign_cpu_busy = 0.2",
        "2: idle.foreign_cpu_busy: must be above foreign_cpu_clear (0.25 by default)",
    ),
    (
        "[idle]\nforeign_cpu_clear = 0.25\nforeign_cpu_busy = 0.2",
        "2: idle.foreign_cpu_clear: must be below foreign_cpu_busy (0.2)",
    ),
    (
        "[idle]\nmemory_available_busy = 0.2",
        "2: idle.memory_available_busy: must be below memory_available_clear (0.15 by default)",
    ),
    ("[idle]\nallow = [7]", f"2: idle.allow: holds 7, which is no {FORMS_OF_WINDOWS}"),
    ('[idle]\nallow = "Sat"', f'2: idle.allow: must be a list such as {LIST_OF_WINDOWS}, not "Sat"'),
    (
        '[idle]\nsuspend_max = "10s"',
        "2: idle.suspend_max: must not be shorter than suspend_min (20 s)",
    ),
    (
        '[control]\nadmin_groups = "x"',
        '2: control.admin_groups: must be a list of text such as ["one", "two"], not "x"',
    ),
    ("[control]\nsocket_mode = 660", '2: control.socket_mode: must be a file mode such as "0660", not 660'),
    ("[pubsub]\ncreate = 1", "2: pubsub.create: must be true or false, not 1"),
    ("[pubsub]\ncredentials = 1", "2: pubsub.credentials: must be a path in quotes, not 1"),
    (
        '[pubsub]\nlease = "10s"',
        '2: pubsub.lease: must be a duration from "20s" to "600s", not "10s"',
    ),
    (
        '[pubsub]\nlease = "11m"',
        '2: pubsub.lease: must be a duration from "20s" to "600s", not "11m"',
    ),
    (
        "[pubsub]\nunknown_flow_after = 10",
        ('2: pubsub.unknown_flow_after: must be a duration such as "10s" (units: ms, s, m, h, d), not 10'),
    ),
    ("[pubsub]\nproject = 1", "2: pubsub.project: must be text in quotes, not 1"),
    (
        "[flows.x]",
        (
            '1: flows.x.command: is missing: a flow needs command = ["program", "{record_id}"] '
            'or entrypoint = "module:attribute"'
        ),
    ),
    (
        '[flows."a b"]\ncommand = ["x"]',
        (
            "1: flows.\"a b\": cannot be the name of a flow: up to 64 letters, digits, '.', '-' and '_' are, "
            "beginning with a letter or digit"
        ),
    ),
]

ONE_PROBLEM_OF_A_COMMAND = [
    ('name = "y"', "3: flows.x.name: unknown key; a flow's table is its name"),
    ('entrypoint = "a:b"', "2: flows.x.command: cannot stand beside entrypoint: a flow has one of them"),
    (
        "workers = 2",
        "3: flows.x.workers: is only for a flow with an entrypoint: a command is its own program",
    ),
    (
        'python = "p"',
        "3: flows.x.python: is only for a flow with an entrypoint: a command is its own program",
    ),
    ('suspend_max = "5s"', "3: flows.x.suspend_max: must not be shorter than idle.suspend_min (20 s)"),
    (
        'suspend_max = "5s"\n[idle]\nsuspend_min = "6s"',
        "3: flows.x.suspend_max: must not be shorter than idle.suspend_min (6 s)",
    ),
    ('timeout = "0s"', '3: flows.x.timeout: must be a duration longer than "0s", not "0s"'),
    ('backoff = "20m"', "3: flows.x.backoff: must not be longer than max_backoff (600 s)"),
    (
        "records = []",
        "3: flows.x.records: must not be an empty list: a batch of nothing is never made",
    ),
    (
        "records = 5",
        '3: flows.x.records: must be a pattern such as "records/*.txt", a file, or a list of record ids, not 5',
    ),
    (
        'records = "r"\nrecords_command = ["r"]',
        "4: flows.x.records_command: cannot stand beside records: a flow has one source",
    ),
    ("env = { A = 1 }", "3: flows.x.env: must be text in quotes for A"),
    ('env = { "A=B" = "" }', "3: flows.x.env: cannot set a variable named 'A=B'"),
    (
        'env.BUTTERMILK_JOB_ID = "1"',
        "3: flows.x.env: cannot set BUTTERMILK_JOB_ID: every job gets it from buttermilkd",
    ),
    (
        'env = { A = "1" }\nenv_files = { A = "a" }',
        "4: flows.x.env_files: sets A, which env sets as well: keep one",
    ),
    (
        "parameters = { day = 1979-05-27 }",
        '3: flows.x.parameters: must be text, a number, true or false, a list or a table, not "1979-05-27"',
    ),
    (
        "parameters = { model = [] }",
        "3: flows.x.parameters: must not give 'model' an empty list: a batch of nothing is never made",
    ),
    ('output_limit = "2GiB"', '3: flows.x.output_limit: must be a size from "0B" to "1GiB", not "2GiB"'),
    (
        'on_busy = "suspnd"',
        '3: flows.x.on_busy: must be "auto", "finish", "suspend" or "requeue", not "suspnd"; did you mean "suspend"?',
    ),
]


@pytest.mark.parametrize(("text", "expected"), ONE_PROBLEM)
def test_a_mistake_is_one_line(text: str, expected: str, file: Path) -> None:
    assert problems(file, text) == [f"b.toml:{expected}"]


@pytest.mark.parametrize(("text", "expected"), ONE_PROBLEM_OF_A_COMMAND)
def test_a_mistake_in_a_flow_is_one_line(text: str, expected: str, file: Path) -> None:
    assert problems(file, f'[flows.x]\ncommand = ["x"]\n{text}') == [f"b.toml:{expected}"]


@pytest.mark.parametrize("command", ['"x"', "[1]", "{}"])
def test_a_command_is_a_list_of_text(command: str, file: Path) -> None:
    (problem,) = problems(file, f"[flows.x]\ncommand = {command}")
    assert problem.startswith(
        'b.toml:2: flows.x.command: must be a list of text such as ["program", "argument"]'
    )


@pytest.mark.parametrize("command", ["[]", '[""]'])
def test_a_command_names_a_program(command: str, file: Path) -> None:
    (problem,) = problems(file, f"[flows.x]\ncommand = {command}")
    assert problem == 'b.toml:2: flows.x.command: must name a program first, as in ["program", "argument"]'


@pytest.mark.parametrize("entrypoint", ["study", "study:", ":f", "a b:c", "a.:b", "a:b:c"])
def test_an_entrypoint_is_a_module_and_an_attribute(entrypoint: str, file: Path) -> None:
    (problem,) = problems(file, f'[flows.x]\nentrypoint = "{entrypoint}"')
    assert problem == (
        'b.toml:2: flows.x.entrypoint: must be "module:attribute" such as "study.flows:classify", '
        f'not "{entrypoint}"'
    )


def test_all_mistakes_are_reported_at_once_in_the_order_of_their_lines(file: Path) -> None:
    drop_in = file.parent / "conf.d/more.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[daemon]\nmax_interruptions = 0\n")
    text = (
        '[flows.x]\ncommand = ["x", "{recordid}"]\n'
        '[idle]\nquiet_for = "soon"\n'
        "[daemon]\nconcurency = 1\nmax_interruptions = -1\n"
    )
    environ = {"BUTTERMILKD_IDLE__WEBSOCKET": "open"}
    assert problems(file, text, environ, pubsub__create="yes") == [
        (
            "b.toml:2: flows.x.command: holds {recordid}, which nothing replaces; did you mean {record_id}? "
            "({record_id} and {param:NAME} are known; write {{recordid}} for the text itself)"
        ),
        'b.toml:4: idle.quiet_for: must be a duration such as "30s" (units: ms, s, m, h, d), not "soon"',
        'b.toml:6: daemon.concurency: unknown key; did you mean "concurrency"?',
        "conf.d/more.toml:2: daemon.max_interruptions: must be from 1 to 1,000, not 0",
        '$BUTTERMILKD_IDLE__WEBSOCKET: idle.websocket: unknown key; did you mean "websockets"?',
        '--set: pubsub.create: must be true or false, not "yes"',
    ]


def test_a_mistake_is_found_where_the_value_that_counts_was_written(file: Path) -> None:
    assert problems(
        file,
        '[daemon]\nconcurrency = 0\ndrain_timeout = "x"\n',
        {"BUTTERMILKD_DAEMON__CONCURRENCY": "-1", "BUTTERMILKD_DAEMON__DRAIN_TIMEOUT": "1s"},
    ) == ["$BUTTERMILKD_DAEMON__CONCURRENCY: daemon.concurrency: must be from 1 to 1,024, not -1"]


def test_an_inline_table_over_a_table_of_another_file_is_found_by_its_own_line(file: Path) -> None:
    drop_in = file.parent / "conf.d/more.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("\ndaemon = { concurrency = 0 }\n")
    (problem,) = problems(file, "[daemon]\nconcurrency = 3\n")
    assert problem == "conf.d/more.toml:2: daemon.concurrency: must be from 1 to 1,024, not 0"


def test_syntax_errors_of_all_files_are_reported(file: Path) -> None:
    drop_in = file.parent / "conf.d/more.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("a = 1\na = 2\n")
    found = problems(file, "x = 1\n\ny = \n")
    assert [problem.split(": is not TOML: ")[0] for problem in found] == ["b.toml:3", "conf.d/more.toml:2"]


def test_a_file_that_is_no_text_is_named_with_its_line(file: Path) -> None:
    assert problems(file, b'queue = "local"\n# caf\xe9\n') == ["b.toml:2: is not UTF-8 text"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        load(tmp_path, {"HOME": str(tmp_path)})
    assert caught.value.problems == (f"{tmp_path}: cannot be read: Is a directory",)


def test_a_variable_or_flag_that_is_no_text_is_named(file: Path) -> None:
    bad = os.fsdecode(b"\xff")
    assert problems(file, "", {"BUTTERMILKD_QUEUE": bad}) == ["$BUTTERMILKD_QUEUE: is not UTF-8 text"]
    assert problems(file, "", {f"BUTTERMILKD_FLOWS__{bad}": "{}"}) == [
        "$BUTTERMILKD_FLOWS__\\udcff: is not UTF-8 text"
    ]
    assert problems(file, "", None, queue=bad) == ["--set: queue: is not UTF-8 text"]


def test_a_line_break_in_a_key_or_value_does_not_break_the_line(file: Path) -> None:
    assert problems(file, 'queue = "a\\nb\\u2028"\n"c\\nd" = 1') == [
        'b.toml:1: queue: must be "local" or "pubsub", not "a\\nb\\u2028"',
        'b.toml:2: "c\\nd": unknown key',
    ]


def test_a_flow_whose_name_holds_a_dot_can_be_set_by_a_flag(file: Path) -> None:
    flag = {'flows."a.b".timeout': 5}
    (problem,) = problems(file, '[flows."a.b"]\ncommand = ["x"]', None, **flag)
    assert problem.startswith('--set: flows."a.b".timeout: must be a duration such as "5s"')
