"""``scripts/chaos``: a seeded mixture of faults against a real daemon, and what became of its jobs."""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random, SystemRandom

from tests.chaos.faults import SPACE, Faults
from tests.chaos.mixture import Report, kill_often, mix
from tests.chaos.victim import ROOT
from tests.chaos.world import World
from tests.emulator import emulator

_INSIDE = "CHAOS_NAMESPACE"


def main() -> None:
    options = parsed()
    if _INSIDE not in os.environ and os.geteuid() == 0 and _may_unshare():
        # A mount namespace of our own: the small disk is nobody else's, and is gone with us.
        command = ["unshare", "--mount", sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
        os.execvpe("unshare", command, os.environ | {_INSIDE: "1", "CHAOS_SEED": str(options.seed)})
    logging.basicConfig(level="INFO", format="%(relativeCreated)8d %(message)s")
    print(f"seed {options.seed}, queue {options.queue}", flush=True)
    with tempfile.TemporaryDirectory(prefix="buttermilkd-chaos-") as name, ExitStack() as stack:
        report = run(options, Path(name), stack)
        if report.findings or options.keep:
            keep(Path(name), options.output.with_suffix(""))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report.document(), indent=2) + "\n")
    show(report, options.output)
    sys.exit(1 if report.findings else 0)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the same choices; by default a new one is made")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long harm is done (5)")
    parser.add_argument("--faults", type=int, help="instead of minutes: how often harm is done")
    parser.add_argument("--queue", choices=("local", "pubsub"), default="local")
    parser.add_argument("--kills", type=int, help="instead: kill the daemon so often within one batch")
    parser.add_argument("--jobs", type=int, default=2000, help="of that batch (2000)")
    parser.add_argument(
        "--keep", action="store_true", help="keep log, evidence and ledger where all is well, too"
    )
    parser.add_argument("--output", type=Path, help="the report (.cache/chaos/QUEUE-SEED.json)")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))
    options.output = options.output or ROOT / ".cache" / "chaos" / f"{options.queue}-{options.seed}.json"
    return options


def run(options: argparse.Namespace, folder: Path, stack: ExitStack) -> Report:
    """Raises whatever keeps the harness itself from its work."""
    random = Random(options.seed)
    is_small = _INSIDE in os.environ
    if is_small:
        stack.enter_context(small_disk(folder / "state"))
    library = faketime()
    clock = folder / "clock"
    clock.write_text("+0")
    environment = {} if library is None or options.kills else moved_clock(library, clock)
    cloud = stack.enter_context(emulator()) if options.queue == "pubsub" else None
    world = World(folder, stack, cloud=cloud, environment=environment)
    faults = Faults(world, random, clock if environment else None, small_disk=is_small)
    began = time.monotonic()  # noqa: TID251 - the harness's own
    if options.kills:
        findings = kill_often(world, random, options.kills, options.jobs)
        faults.counts["kill"] = options.kills
    else:
        findings = mix(world, faults, random, options.minutes * 60, options.faults)
    seconds = time.monotonic() - began  # noqa: TID251
    missing = [] if options.kills else faults.missing
    counts = dict(faults.counts.most_common())
    return Report(options.seed, options.queue, counts, world.figures(), missing, findings, round(seconds, 1))


def show(report: Report, output: Path) -> None:
    for what, figures in (("faults", report.faults), ("jobs", report.figures | {"lost": report.lost})):
        print(f"{what}: " + ", ".join(f"{count} {name}" for name, count in figures.items()))
    for line in report.missing:
        print(f"not done here: {line}")
    for finding in report.findings[:20]:
        print(f"FOUND {finding.kind}: {finding.subject}: {finding.text}")
    print(f"{len(report.findings)} findings in {report.seconds:.0f} s; see {output}")


def keep(folder: Path, place: Path) -> None:
    """What a finding can be understood by: log, evidence, ledger."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for path in (
        folder / "work",
        folder / "daemon.log",
        folder / "buttermilkd.toml",
        *(folder / "state").glob("ledger*"),
    ):
        shutil.copy(path, place)


def faketime() -> Path | None:
    """The library that moves a program's clock, where it is installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def moved_clock(library: Path, clock: Path) -> dict[str, str]:
    """What has a program read its clock by this file; what measures durations stays as it is."""
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mounted there meanwhile."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SPACE},mode=0700", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _may_unshare() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    main()
