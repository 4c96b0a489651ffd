"""The folder of the ledger: room, rights, and whose it is."""

import os
import pwd
import shutil
from pathlib import Path

from buttermilkd.cli.doctor.asked import Installation
from buttermilkd.cli.doctor.findings import Finding, bad, good
from buttermilkd.cli.places import state_dir_of
from buttermilkd.installation.plans import ACCOUNT

LEAST_FREE = 200 * 2**20
"""Bytes that the ledger should have left to grow."""


def examine(config: Path | None, installation: Installation) -> Finding:
    """The folder, or where it would be made.

    Raises:
        MisconfiguredError: a configuration file cannot be found, read or understood.
    """
    directory = state_dir_of(config, installation)
    place = directory
    while not os.access(place, os.F_OK):
        place = place.parent
    free = shutil.disk_usage(place).free
    detail = f"{directory}, {free // 2**20:,} MiB free"
    if free < LEAST_FREE:
        return bad("state", detail, "make room: the ledger stops when its disk is full")
    if place.stat().st_uid == os.geteuid() and not os.access(place, os.W_OK | os.X_OK):
        return bad("state", f"{place} is not writable", f"chmod u+rwx {place}")
    if installation.sudo and place == directory and (stranger := _stranger(directory)):
        detail = f"{stranger} does not belong to {ACCOUNT}: was the daemon run by hand?"
        return bad("state", detail, f"sudo chown -R {ACCOUNT}: {directory}")
    return good("state", detail)


def _stranger(directory: Path) -> Path | None:
    """What in it the daemon's user does not own, as far as it can be looked into."""
    try:
        uid = pwd.getpwnam(ACCOUNT).pw_uid
        files = [directory, *directory.iterdir()]
        return next((file for file in files if file.lstat().st_uid != uid), None)
    except (KeyError, OSError):
        return None
