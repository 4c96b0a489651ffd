"""The configuration, and the queue at Pub/Sub, as the daemon itself judges them: it is too slow to import here."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.config.locate import find_config
from buttermilkd.errors import ButtermilkError, Exit

CHECK_TIMEOUT = 60
QUEUE_CHECK_TIMEOUT = 180


def examine(config: Path | None) -> Finding:
    """The daemon's own judgement, which knows every key."""
    subject = "configuration"
    try:
        found = find_config(config, os.environ)
        check = _daemons_check(found, "--check-config", CHECK_TIMEOUT)
    except ButtermilkError as error:
        return bad(subject, str(error), error.hint)
    except (OSError, subprocess.TimeoutExpired) as error:
        return bad(subject, f"cannot be checked: {error}")
    if check.returncode == Exit.OK:
        return good(subject, str(found) if found else "no file, so the defaults")
    lines = check.stderr.strip().splitlines()
    problems = [line for line in lines if line and not line.startswith(("error:", "hint:"))]
    detail = "; ".join(problems) or (lines or [f"exit status {check.returncode}"])[-1]
    return bad(subject, detail, "correct it, and try again with buttermilkd --check-config")


def pubsub(config: Path | None) -> Iterator[Finding]:
    """What the daemon finds at Pub/Sub: Google's packages are even slower to import."""
    try:
        found = find_config(config, os.environ)
        check = _daemons_check(found, "--check-queue", QUEUE_CHECK_TIMEOUT)
        findings = [Finding(**json.loads(line)) for line in check.stdout.splitlines()]
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError) as error:
        yield bad("pubsub", f"cannot be checked: {error}")
        return
    yield from findings
    if check.returncode != Exit.OK and all(finding.ok for finding in findings):
        told = dict(line.split(": ", 1) for line in check.stderr.splitlines() if ": " in line)
        yield bad(
            "pubsub",
            told.get("error", f"cannot be checked: exit status {check.returncode}"),
            told.get("hint"),
        )


def _daemons_check(config: Path | None, check: str, seconds: float) -> subprocess.CompletedProcess[str]:
    arguments = ["--config", str(config)] if config else []
    return subprocess.run(
        [sys.executable, "-m", "buttermilkd", check, *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
