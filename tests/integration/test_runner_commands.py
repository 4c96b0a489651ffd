"""Command flows, with real processes."""

import json
import os
import sys
from pathlib import Path

import pytest

from buttermilkd.jobs import Ending
from tests.integration.runner_host import Flow, hosting, python, shell, until


async def test_exit_status_0_completes(tmp_path: Path) -> None:
    async with hosting(tmp_path, Flow(command=("true",))) as host:
        assert (await host.run()).ending is Ending.COMPLETED


@pytest.mark.parametrize(
    ("status", "ending"),
    [(75, Ending.DEFERRED), (65, Ending.REJECTED), (3, Ending.FAILED), (255, Ending.FAILED)],
)
async def test_other_exit_statuses_say_what_they_say(tmp_path: Path, status: int, ending: Ending) -> None:
    async with hosting(tmp_path, shell(f"echo first >&2; echo last >&2; exit {status}")) as host:
        outcome = await host.run()
    assert outcome.ending is ending
    assert outcome.error == f"exit status {status}: last"
    assert outcome.cause == f"exit status {status}: first"


async def test_a_signal_is_named(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("kill -SEGV $$")) as host:
        outcome = await host.run()
    assert (outcome.ending, outcome.error) == (Ending.FAILED, "killed by SIGSEGV")
    assert not outcome.killed


async def test_a_traceback_is_grouped_by_its_last_line(tmp_path: Path) -> None:
    async with hosting(tmp_path, python("import sys; print('warning: x', file=sys.stderr); {}['a']")) as host:
        outcome = await host.run()
    assert outcome.cause == "exit status 1: KeyError: 'a'"


async def test_the_job_comes_by_standard_input_and_environment(tmp_path: Path) -> None:
    code = """if True:
        import json, os, sys
        lines = sys.stdin.read().splitlines()
        names = "JOB_ID BATCH_ID FLOW RECORD_ID ATTEMPT PARAMETERS".split()
        print(json.dumps([json.loads(lines[0]), len(lines), [os.environ["BUTTERMILK_" + name] for name in names]]))
    """
    async with hosting(tmp_path, python(code)) as host:
        outcome = await host.run("ä/../'\"; \U0001f9c8", parameters={"model": "small", "n": [1]})
    job, lines, variables = json.loads(outcome.result or "")
    assert lines == 1
    assert job == {
        "job_id": "batch-1.1",
        "batch_id": "batch-1",
        "flow": "flow",
        "record_id": "ä/../'\"; \U0001f9c8",
        "parameters": {"model": "small", "n": [1]},
        "attempt": 1,
    }
    assert variables[:5] == ["batch-1.1", "batch-1", "flow", "ä/../'\"; \U0001f9c8", "1"]
    assert json.loads(variables[5]) == job["parameters"]


async def test_arguments_are_filled_without_a_shell(tmp_path: Path) -> None:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    flow = Flow(command=(sys.executable, "-c", code, "{record_id}", "--m={param:m}", "{param:n}", "{other}"))
    async with hosting(tmp_path, flow) as host:
        outcome = await host.run("$(touch x) {param:m}", parameters={"m": "a b", "n": {"k": 1}})
    assert json.loads(outcome.result or "") == ["$(touch x) {param:m}", "--m=a b", '{"k": 1}', "{other}"]


async def test_what_does_not_fit_an_argument_fails_that_attempt_alone_and_for_good_where_it_never_will(
    tmp_path: Path,
) -> None:
    async with hosting(tmp_path, Flow(command=("true", "{record_id}"))) as host:
        nul = await host.run("a\0b")
        long = await host.run("x" * 3_000_000)
        surrogate = await host.run("\ud800")
        fine = await host.run()
    assert "NUL" in (nul.error or "")
    assert "argument 1 is too large: 3,000,000 bytes" in (long.error or "")
    assert "not valid text" in (surrogate.error or "")
    assert [each.ending for each in (nul, long, surrogate, fine)] == [
        Ending.FAILED,
        Ending.REJECTED,
        Ending.FAILED,
        Ending.COMPLETED,
    ]


async def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    async with hosting(tmp_path, Flow(command=("true", "{param:model}"))) as host:
        outcome = await host.run()
    assert outcome.ending is Ending.FAILED
    assert "'model'" in (outcome.error or "")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program", "no-such-program: command not found"),
        ("/no/such/program", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("/etc", "Permission denied"),
    ],
)
async def test_a_command_that_cannot_be_started_says_why(tmp_path: Path, command: str, words: str) -> None:
    async with hosting(tmp_path, Flow(command=(command,))) as host:
        outcome = await host.run()
    assert outcome.ending is Ending.FAILED
    assert words in (outcome.error or "")


HUGE = "x" * 200_000
"""More than the kernel takes in one argument or variable."""


async def test_parameters_too_large_for_a_variable_are_on_standard_input_alone_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    code = """if True:
        import json, os, sys
        print(len(json.loads(sys.stdin.read())["parameters"]["text"]), "BUTTERMILK_PARAMETERS" in os.environ)
    """
    async with hosting(tmp_path, python(code)) as host:
        outcome = await host.run(parameters={"text": HUGE})
    assert outcome.ending is Ending.COMPLETED, outcome.error
    assert outcome.log.endswith(b"200000 False\n")
    assert b"BUTTERMILK_PARAMETERS is not set: 200,012 bytes, and the kernel takes 131," in outcome.log


async def test_an_argument_that_the_kernel_never_takes_fails_its_job_for_good(tmp_path: Path) -> None:
    async with hosting(tmp_path, Flow(command=("true", "{param:text}"))) as host:
        outcome = await host.run(parameters={"text": HUGE})
    assert outcome.ending is Ending.REJECTED
    assert "argument 1 is too large: 200,000 bytes, and the kernel takes 131,071" in (outcome.error or "")
    assert "file" in (outcome.error or "")


async def test_arguments_that_are_too_many_for_the_kernel_fail_their_job_for_good(tmp_path: Path) -> None:
    async with hosting(tmp_path, Flow(command=("true", *["{param:text}"] * 100))) as host:
        outcome = await host.run(parameters={"text": "x" * 100_000})
    assert outcome.ending is Ending.REJECTED
    assert "Argument list too long" in (outcome.error or "")
    assert "file" in (outcome.error or "")


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    async with hosting(tmp_path, Flow(command=("true",), directory=tmp_path / "gone")) as host:
        outcome = await host.run()
    assert f"{tmp_path}/gone: No such file" in (outcome.error or "")


async def test_it_runs_in_its_directory_with_its_environment_and_secrets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    flow = shell('printf "%s %s %s\\n" "$PWD" "$GREETING" "$KEY"', directory=tmp_path)
    flow = Flow(
        command=flow.command, directory=tmp_path, env={"GREETING": "hi"}, env_files={"KEY": tmp_path / "key"}
    )
    async with hosting(tmp_path, flow) as host:
        outcome = await host.run()
        (tmp_path / "key").unlink()
        missing = await host.run()
    assert outcome.log.decode() == f"{tmp_path} hi s3cret\n"
    assert missing.error == f"cannot read {tmp_path}/key for KEY: No such file or directory"


async def test_a_secret_that_is_no_file_or_too_long_for_a_variable_fails_its_job_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "long").write_bytes(b"x" * (128 * 1024 + 1))
    names = ("pipe", "folder", "long")
    flows = [Flow(name, command=("true",), env_files={"KEY": tmp_path / name}) for name in names]
    async with hosting(tmp_path, *flows, Flow(command=("true",))) as host:
        told = [(await host.run(flow=name)).error for name in names]
        assert (await host.run()).ending is Ending.COMPLETED
    assert told == [
        f"cannot read {tmp_path}/pipe for KEY: it is no regular file",
        f"cannot read {tmp_path}/folder for KEY: Is a directory",
        f"cannot read {tmp_path}/long for KEY: it is longer than 128 KiB",
    ]


async def test_the_result_file_wins_over_the_last_line(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell('echo \'{"from": "file"}\' > $BUTTERMILK_RESULT; echo 2')) as host:
        outcome = await host.run()
        left = list((tmp_path / "scratch").iterdir())
    assert json.loads(outcome.result or "") == {"from": "file"}
    assert left == []


@pytest.mark.parametrize(
    ("printed", "result"), [('x\\n{"a": 1}\\n\\n', '{"a": 1}'), ("1\\ndone", None), ("", None), ("NaN", None)]
)
async def test_the_last_line_is_the_result_where_it_is_json(
    tmp_path: Path, printed: str, result: str | None
) -> None:
    async with hosting(tmp_path, shell(f"printf '{printed}'")) as host:
        outcome = await host.run()
    assert (outcome.ending, outcome.result) == (Ending.COMPLETED, result)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo oops > $BUTTERMILK_RESULT", "does not hold JSON"),
        ("head -c 100000 /dev/zero > $BUTTERMILK_RESULT", "over 65,536 bytes"),
        ("mkfifo $BUTTERMILK_RESULT", "not a regular file"),
        ("mkdir $BUTTERMILK_RESULT", "not a regular file"),
        ("ln -s /etc/passwd $BUTTERMILK_RESULT", "cannot read the result file"),
    ],
)
async def test_an_unusable_result_fails_the_attempt(tmp_path: Path, script: str, words: str) -> None:
    async with hosting(tmp_path, shell(script)) as host:
        outcome = await host.run()
        left = list((tmp_path / "scratch").iterdir())
    assert outcome.ending is Ending.FAILED
    assert words in (outcome.error or "")
    assert left == []


async def test_a_flood_of_output_is_bounded_and_ends(tmp_path: Path) -> None:
    flow = shell("echo begin; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end")
    async with hosting(tmp_path, flow) as host:
        outcome = await host.run()
    assert outcome.ending is Ending.COMPLETED
    assert len(outcome.log) < 70_000
    assert outcome.log.startswith(b"begin\n")
    assert outcome.log.endswith(b"end\n")
    assert b" bytes left out " in outcome.log


async def test_binary_output_and_closed_pipes_are_taken_as_they_come(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("head -c 1000 /dev/urandom; exec >&- 2>&-; true; exit 3")) as host:
        outcome = await host.run()
    assert (outcome.ending, outcome.error, len(outcome.log)) == (Ending.FAILED, "exit status 3", 1000)


async def test_a_job_starts_without_the_daemons_own_variables(
    tmp_path: Path,
) -> None:
    async with hosting(
        tmp_path, shell("env | grep -c -E '^(NOTIFY_SOCKET|LISTEN_|BUTTERMILKD_)'; true")
    ) as host:
        assert (await host.run()).log == b"0\n"


async def test_no_descriptor_of_the_daemon_reaches_a_job(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        async with hosting(tmp_path, shell("ls /proc/$$/fd"), keep_fds=[lock.fileno()]) as host:
            outcome = await host.run()
    assert outcome.log.split() in ([b"0", b"1", b"2"], [b"0", b"1", b"10", b"2"])


async def test_no_more_execute_than_allowed(tmp_path: Path) -> None:
    flow = shell("read line < $FIFO", env={"FIFO": str(tmp_path / "fifo")})
    os.mkfifo(tmp_path / "fifo")
    async with hosting(tmp_path, flow, concurrency=2) as host:
        assert host.runner.rooms() == {"flow": 2}
        job_ids = [host.start() for _ in range(5)]
        await until(lambda: not (len(host.runner.running()) < 2))
        assert (host.runner.room(), host.runner.rooms()) == (0, {})
        host.runner.recall()
        assert [host.outcomes[job_id].ending for job_id in job_ids[2:]] == [Ending.GIVEN_BACK] * 3
        assert len(host.runner.running()) == 2


async def test_a_job_of_an_unknown_flow_is_given_back(tmp_path: Path) -> None:
    async with hosting(tmp_path, Flow(command=("true",))) as host:
        outcome = await host.run(flow="gone")
    assert outcome.ending is Ending.GIVEN_BACK


async def test_a_flow_without_room_does_not_hold_up_another(tmp_path: Path) -> None:
    slow = shell("sleep 1000", name="slow", concurrency=1)
    async with hosting(tmp_path, slow, Flow(name="quick", command=("true",))) as host:
        for _ in range(2):
            host.start(flow="slow")
        await until(host.runner.running)
        assert (await host.run(flow="quick")).ending is Ending.COMPLETED
        assert (await host.run(flow="quick")).ending is Ending.COMPLETED
