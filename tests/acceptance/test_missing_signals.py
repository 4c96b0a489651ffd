"""A machine that does not tell everything: no pressure, no control groups. What there is decides."""

import os
import shutil
import subprocess
import sys

from tests.acceptance.program import Daemon, until
from tests.parts import need

HIDE = "mount -t tmpfs none /proc/pressure && mount -t tmpfs none /sys/fs/cgroup && exec"


def test_where_pressure_and_control_groups_are_hidden_jobs_run_and_idle_says_what_is_missing(
    daemon: Daemon,
) -> None:
    need(os.geteuid() == 0 and shutil.which("unshare"), "root, who may hide files from a process")
    daemon.write('[flows.hello]\ncommand = ["echo", "{record_id}"]')
    program = [sys.executable, "-m", "buttermilkd", "--config", str(daemon.config)]
    with daemon.log.open("wb") as log:
        daemon.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f'{HIDE} "$@"', "sh", *program],
            stdout=log,
            stderr=log,
            cwd=daemon.folder,
            env=daemon.environment,
        )
    until(lambda: daemon.control.exists() and daemon.ctl("status").returncode == 0, "an answer of the daemon")
    batch = daemon.client.create("hello", records=["a"]).batch_id
    assert daemon.ended(batch)["completed"] == 1
    idle = daemon.ctl_json("idle")
    signals = {signal["name"]: signal for signal in idle["signals"]}
    for name in ("cpu pressure", "io pressure", "memory pressure"):
        assert (signals[name]["state"], signals[name]["value"]) == (
            "missing",
            "this kernel does not tell it (CONFIG_PSI, or psi=1 at boot)",
        )
    assert signals["others"]["state"] == "missing"
    assert "estimated" in signals["cpu"]["value"]
    assert signals["memory"]["state"] == "clear"
    assert idle["suspending"]["method"] == "signals"
    assert "not to be seen here" in idle["suspending"]["why"]
