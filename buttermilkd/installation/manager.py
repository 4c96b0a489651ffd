"""What a manager of services says of its units."""

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime

from buttermilkd.installation.targets import Target

SERVICE = "buttermilkd.service"
SOCKET = "buttermilkd.socket"
JOBS_SERVICE = "buttermilkd-jobs.service"
JOBS_SOCKET = "buttermilkd-jobs.socket"

Unit = Mapping[str, str]
"""What ``systemctl show`` says of one."""
_PATIENCE = 10


def shown(target: Target, properties: str, *names: str) -> dict[str, Unit]:
    """These properties, with commas between them, of each of these units; nothing where there is no manager.

    Raises:
        OSError, subprocess.TimeoutExpired: it cannot be asked.
    """
    done = subprocess.run(
        target.systemctl("show", "--timestamp=us+utc", f"--property=Id,{properties}", *names),
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=_PATIENCE,
        check=False,
    )
    blocks = [block for block in done.stdout.split("\n\n") if block.strip()]
    units = [
        dict(line.split("=", 1) for line in block.strip().splitlines() if "=" in line) for block in blocks
    ]
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def time_of(text: str) -> float | None:
    """Seconds since the epoch of what a manager tells as ``Sun 2026-11-29 20:14:18.123456 UTC``; None for no time."""
    _, _, stamp = text.removesuffix(" UTC").partition(" ")
    try:
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
