"""Google's packages are for those who use Pub/Sub: nobody else imports them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOADED = """
import json, sys
{program}
print(json.dumps(sorted(sys.modules)))
"""
DAEMON = """
import asyncio, os, signal
from pathlib import Path
from buttermilkd.clock import SystemClock
from buttermilkd.config.load import load
from buttermilkd.daemon import assembly, service
from buttermilkd.host.notifier import Notifier

async def main():
    settings = load(None, os.environ)
    given = assembly.Given(read=lambda queue: settings, notifier=Notifier(SystemClock()))
    running = asyncio.ensure_future(service.run(settings, given))
    while not (settings.daemon.runtime_dir / "control.sock").exists() and not running.done():
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    await running

asyncio.run(main())
"""
CHECK = """
from buttermilkd.__main__ import main
try:
    main(["--check-queue"])
except SystemExit as end:
    assert end.code == 0
"""
WITHOUT = """
import sys
sys.modules[{package!r}] = None
import asyncio
from buttermilkd.queues.pubsub.google import open_broker
asyncio.run(open_broker("p", None, {{"PUBSUB_EMULATOR_HOST": "127.0.0.1:9"}}))
"""


def run(program: str, home: Path) -> "subprocess.CompletedProcess[str]":
    environ = {"HOME": str(home), "STATE_DIRECTORY": str(home), "RUNTIME_DIRECTORY": str(home / "run")}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environ
    )


@pytest.mark.parametrize(
    "program",
    [
        "import buttermilkd.cli.program",
        DAEMON,
        "import buttermilkd.queues.pubsub.google, buttermilkd.queues.pubsub.api, buttermilkd.queues.pubsub.batching",
        CHECK,
    ],
    ids=["command line", "daemon that ran", "the way to Pub/Sub", "check of a local queue"],
)
def test_with_a_local_queue_nothing_of_google_is_imported(program: str, tmp_path: Path) -> None:
    done = run(LOADED.format(program=program), tmp_path)

    assert done.returncode == 0, done.stderr
    packages = {module.partition(".")[0] for module in json.loads(done.stdout)}
    assert "buttermilkd" in packages
    assert not packages & {"google", "grpc", "proto"}


@pytest.mark.parametrize("package", ["google.pubsub_v1", "grpc"])
def test_where_googles_packages_are_missing_it_says_what_to_install(package: str, tmp_path: Path) -> None:
    done = run(WITHOUT.format(package=package), tmp_path)

    assert "MisconfiguredError: cannot use Pub/Sub: the Python package" in done.stderr
    assert "is not installed" in done.stderr
