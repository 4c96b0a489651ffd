"""What ``systemd-analyze`` says of the units, as they would be installed: nothing to complain of, and how exposed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buttermilkd.installation.templates import drop_ins, rendered, units
from tests.parts import need

PROGRAMS = Path(sys.executable).parent
LIMIT = 2.0
"""The exposure of the daemon, with control groups delegated to it; 10 is that of a service without any sandbox."""

Record = Callable[[str, object], None]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    need(shutil.which("systemd-analyze"), "systemd-analyze")
    with tempfile.TemporaryDirectory() as runtime:
        environ = {**os.environ, "XDG_RUNTIME_DIR": runtime}  # a user's units are verified without a session
        command = ["systemd-analyze", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)


def installed(folder: Path, *, user: bool = False) -> dict[str, Path]:
    """All units in a folder of their own; the interpreter is there, whether or not the programs are."""
    for unit in units(user=user):
        (folder / unit.name).write_text(rendered(unit, PROGRAMS))
    return {file.name: file for file in folder.iterdir()}


def exposure(unit: Path) -> float:
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    assert done.returncode == 0, done.stderr
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


@pytest.mark.parametrize("user", [False, True], ids=["machine", "user"])
def test_systemd_finds_nothing_wrong_with_the_units(
    user: bool, tmp_path: Path, record_property: Record
) -> None:
    files = installed(tmp_path, user=user)

    done = analyze("verify", "--man=no", *(["--user"] if user else []), *map(str, files.values()))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    record_property("figure", f"systemd-analyze verify: {', '.join(sorted(files))}{' (user)' * user}: clean")


def test_the_daemon_is_little_exposed_although_control_groups_are_delegated_to_it(
    tmp_path: Path, record_property: Record
) -> None:
    unit = installed(tmp_path)["buttermilkd.service"]
    assert "\nDelegate=yes\n" in unit.read_text()

    found = exposure(unit)

    record_property(
        "figure", f"systemd-analyze security: buttermilkd.service: exposure {found}, {LIMIT} at most"
    )
    assert found <= LIMIT


@pytest.mark.parametrize(
    "name", [name for name, file in drop_ins().items() if file.parent.stem == "buttermilkd.service"]
)
def test_a_drop_in_leaves_the_daemon_as_little_exposed(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    unit = installed(tmp_path)["buttermilkd.service"]
    folder = tmp_path / "buttermilkd.service.d"
    folder.mkdir()
    shutil.copy(drop_ins()[name], folder)

    assert analyze("verify", "--man=no", str(unit)).stderr == ""
    found = exposure(unit)
    record_property("figure", f"systemd-analyze security: buttermilkd.service with {name}: exposure {found}")
    assert found <= LIMIT


def test_each_option_that_is_relaxed_is_named_in_the_unit_with_its_reason(tmp_path: Path) -> None:
    unit = installed(tmp_path)["buttermilkd.service"]
    done = analyze("security", "--offline=true", "--json=short", "--no-pager", str(unit))
    # A single line of JSON; 252 writes its summary right behind it.
    entries = json.JSONDecoder().raw_decode(done.stdout)[0]

    exposed = [entry["name"] for entry in entries if float(entry["exposure"] or 0) > 0]
    comments = " ".join(line for line in unit.read_text().splitlines() if line.startswith("# "))
    reasons = comments[comments.index("Relaxed") :]

    assert exposed
    assert [name for name in exposed if not explained(name, reasons, unit.read_text())] == []


def explained(name: str, reasons: str, text: str) -> bool:
    """Whether a comment names it, or stands right above its line."""
    directive, _, value = name.partition("=")
    words = {directive, value.lstrip("~").strip("()")} - {"", "/RootImage="}
    above = re.search(
        rf"^# Relaxed: .*(?:\n# .*)*\n(?:\w+=.*\n)*?{re.escape(directive)}=", text, re.MULTILINE
    )
    return above is not None or any(word in reasons for word in words)
