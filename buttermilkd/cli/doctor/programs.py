"""What this program itself runs on."""

import sys

from buttermilkd.cli.doctor.findings import Finding, bad, good

LEAST_PYTHON = (3, 11)
LEAST_SQLITE = (3, 35)
"""The first with RETURNING, which the ledger uses."""
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))


def python() -> Finding:
    detail = f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    if sys.version_info < LEAST_PYTHON:
        return bad("python", detail, "install Python 3.11 or later")
    return good("python", detail)


def sqlite() -> Finding:
    import sqlite3  # noqa: PLC0415 - no other command needs it

    version = sqlite3.sqlite_version_info
    if version < LEAST_SQLITE:
        return bad("sqlite", sqlite3.sqlite_version, f"install {'.'.join(map(str, LEAST_SQLITE))} or later")
    first, last = WAL_RESET_BUG
    note = ""
    if first <= version <= last:
        note = "; its WAL-reset bug does no harm here, since one connection alone commits and checkpoints"
    return good("sqlite", f"{sqlite3.sqlite_version}{note}")
