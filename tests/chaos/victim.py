"""The daemon that is ill-treated, as a process, and what its jobs do."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.program import Daemon

ROOT = Path(__file__).parents[2]
JOB = """
echo "begun $BUTTERMILK_JOB_ID $BUTTERMILK_ATTEMPT $$" >> "$CHAOS_WORK"
case "$0" in fork*) setsid sleep 4321 & (sleep 4321 &) & ;; esac
sleep "$CHAOS_NAP"; status=0
case "$0" in flaky*) [ "$BUTTERMILK_ATTEMPT" -gt 1 ] || status=1 ;; bad*) status=65 ;; esac
echo "ended $BUTTERMILK_JOB_ID $BUTTERMILK_ATTEMPT $$ $status" >> "$CHAOS_WORK"
exit $status
"""
"""What a record is called says what becomes of its job: ``flaky…`` fails once, ``bad…`` for good, ``fork…`` leaves processes."""
CALLED = """
import os, time
from buttermilkd.flows import Reject

def note(*words):
    fd = os.open(os.environ["CHAOS_WORK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
    os.close(fd)

def work(job):
    note("begun", job.job_id, job.attempt, os.getpid())
    time.sleep(float(os.environ["CHAOS_NAP"]))
    fails = job.record_id.startswith("flaky") and job.attempt == 1
    bad = job.record_id.startswith("bad")
    note("ended", job.job_id, job.attempt, os.getpid(), 65 if bad else 1 if fails else 0)
    if bad:
        raise Reject("bad")
    if fails:
        raise ValueError("flaky")
    return job.attempt
"""
"""The same as a callable, in a warm worker."""
MODULE = "chaos_flow"
FLOW = """
[flows.work]
command = ["sh", "-c", '''{job}''', "{{record_id}}"]
backoff = "200ms"
timeout = "{timeout}"
[flows.work.env]
CHAOS_WORK = "{work}"
CHAOS_NAP = "{nap}"
[flows.call]
entrypoint = "{module}:work"
directory = "{folder}"
backoff = "200ms"
timeout = "{timeout}"
[flows.call.env]
CHAOS_WORK = "{work}"
CHAOS_NAP = "{nap}"
"""


class Victim(Daemon):
    """A daemon in a folder of its own that can be started with more in its environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        super().__init__(folder)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self._environment | {"PYTHONPATH": str(ROOT)}

    def begin(self, die_at: str | None = None) -> subprocess.Popen[bytes]:
        """Start it and do not wait; ``die_at``: a step of ``stepped`` and how often it may be reached."""
        # Where the clock is moved, the wrapper keeps that from the launcher and from jobs.
        is_wrapped = die_at is not None or "LD_PRELOAD" in self._environment
        module = "tests.chaos.stepped" if is_wrapped else "buttermilkd"
        more = {} if die_at is None else {"CHAOS_DIE_AT": die_at}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment | more,
            )
        return self.process
