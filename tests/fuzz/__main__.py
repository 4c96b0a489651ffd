"""Sends masses of bad messages over both sockets of a real daemon, and reports what it made of them.

It exits with 1 where an exception went unhandled, a connection hung, or the daemon did not end as it should.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.program import Daemon
from tests.fuzz.storm import UNHANDLED, Counts, activity_storm, control_storm, resident

FLOW = '[flows.hello]\ncommand = ["true"]\n'
WARM_UP = 0.1
"""The part that is sent before memory counts: by then every path has been taken, and every cache is full."""
QUARTERS = 4


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the chance (default: another each time)")
    asked = parser.parse_args()
    seed = time.time_ns() % 2**32 if asked.seed is None else asked.seed
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-fuzz-"))
    daemon = Daemon(folder)
    daemon.write(FLOW)
    daemon.start()
    print(
        f"seed {seed}, {asked.messages:,} messages: a quarter of them requests, the rest lines of reporters"
    )
    try:
        counts = asyncio.run(_storms(daemon, asked.messages, seed))
        alive = daemon.process is not None and daemon.process.poll() is None
        status = daemon.stop()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
    log = daemon.log.read_text()
    unhandled = len(UNHANDLED.findall(log))
    print(f"connections {counts.connections:,}, hung {counts.hung}")
    print(f"unhandled exceptions {unhandled}, alive at the end: {'yes' if alive else 'no'}, exit {status}")
    failed = bool(unhandled or counts.hung or status or not alive)
    if failed:
        print(f"the daemon's log: {daemon.log}")
    else:
        shutil.rmtree(folder)
    return int(failed)


async def _storms(daemon: Daemon, messages: int, seed: int) -> Counts:
    counts = Counts()
    assert daemon.process is not None
    warm_up = int(messages * WARM_UP)
    parts = [warm_up] + [(messages - warm_up) // QUARTERS] * QUARTERS
    start = time.monotonic()  # noqa: TID251
    for number, part in enumerate(parts):
        requests = part // 4
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(control_storm(daemon.control, requests, seed + number, counts))
            tasks.create_task(activity_storm(daemon.activity, part - requests, seed - number, counts))
        rss = resident(daemon.process.pid)
        took = time.monotonic() - start  # noqa: TID251
        print(f"{counts.messages:>9,} sent, {took:6.0f} s: {rss / 1024:.1f} MiB", flush=True)
    return counts


if __name__ == "__main__":
    sys.exit(main())
