"""Jobs come last: the priority that they have from their first instruction, and cannot leave."""

import json
import os
from pathlib import Path

from buttermilkd.jobs import Ending
from tests.integration.runner_host import hosting, python, shell, until
from tests.parts import need

AUTOGROUP = Path("/proc/self/autogroup")
LEAST = "nice 19"


async def test_priority_is_idle_from_the_first_instruction(tmp_path: Path) -> None:
    code = """if True:
        import json, os
        def ioprio(): return int(os.popen("ionice -p %d" % os.getpid()).read().startswith("idle"))
        print(json.dumps([os.sched_getscheduler(0), ioprio(), open("/proc/self/oom_score_adj").read().strip()]))
    """
    async with hosting(tmp_path, python(code)) as host:
        outcome = await host.run()
    assert json.loads(outcome.result or "") == [os.SCHED_IDLE, 1, "500"]


def need_sessions_to_be_scheduled() -> None:
    need(AUTOGROUP.exists(), "a kernel that schedules by session (CONFIG_SCHED_AUTOGROUP)")


async def test_all_jobs_together_have_the_least_weight_among_sessions(tmp_path: Path) -> None:
    need_sessions_to_be_scheduled()
    flow = python("import json; print(json.dumps(open('/proc/self/autogroup').read()))")
    async with hosting(tmp_path, flow) as host:
        one, other = await host.run(), await host.run()
    assert one.result == other.result
    assert json.loads(one.result or "").strip().endswith(LEAST)


async def test_a_session_that_a_job_makes_for_itself_is_lowered_at_the_next_look(tmp_path: Path) -> None:
    need_sessions_to_be_scheduled()
    flow = shell("setsid sh -c 'echo $$; exec sleep 1000' & wait")
    async with hosting(tmp_path, flow) as host:
        job_id = host.start()
        pid = int(await host.until_printed(job_id, b"\n"))
        autogroup = Path(f"/proc/{pid}/autogroup")
        assert autogroup.read_text().strip().endswith("nice 0")

        def look() -> bool:
            host.runner.footprint.cpu_seconds()
            return autogroup.read_text().strip().endswith(LEAST)

        await until(look)
        await host.runner.stop([job_id], Ending.CANCELLED)
