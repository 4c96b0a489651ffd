"""From a checkout to a service and back: ``scripts/install``, people who use it, ``scripts/uninstall``."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.systemd.installing import PLACE, Computer, computer
from tests.systemd.patience import until
from tests.unmoved import UNMOVED

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(900)]

CONFIG = "/etc/buttermilkd/buttermilkd.toml"
SETTINGS = f"""
[idle]
quiet_for = "1s"
settle_for = "100ms"
other_cpu_busy = 1.0
other_cpu_clear = 0.99
{UNMOVED}
[flows.count]
command = ["sh", "-c", "echo counted $BUTTERMILK_RECORD_ID"]
[flows.long]
command = ["sleep", "1000"]
"""


@pytest.fixture
def fresh() -> Iterator[Computer]:
    with computer() as one:
        yield one


def words_of(text: str, verb: str) -> set[str]:
    """What the lines with this verb are about."""
    return {line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{verb} ")}


def active(fresh: Computer, unit: str = "buttermilkd.service") -> str:
    return fresh.system.property(unit, "ActiveState")


def checks(fresh: Computer, program: str, user: str, **environ: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds, by subject."""
    done = fresh.script(program, "doctor", "--json", user=user, **environ)
    assert done.stdout, done.stderr
    return {check["subject"]: check for check in json.loads(done.stdout)["checks"]}


def test_from_a_checkout_to_a_service_that_people_use_and_back_to_what_is_theirs(fresh: Computer) -> None:
    before = fresh.files()
    told = fresh.install()

    assert_nothing_is_started_and_what_to_do_is_said(fresh, told)
    assert_it_is_whole(fresh, before)
    assert_a_bad_configuration_fails_once_and_the_doctor_knows_the_mend(fresh)
    start(fresh)
    fresh.add_user("ada", "buttermilk")
    assert_a_person_of_the_group_can_use_it(fresh, "ada")
    assert_who_is_not_in_the_group_may_not_cancel_and_is_told_how_to_be_allowed(fresh)
    older = assert_an_upgrade_leaves_alone_what_runs(fresh)
    assert_a_second_installation_changes_nothing(fresh)
    assert not older.exists()
    assert_what_is_changed_for_jobs_is_due_a_restart_as_well(fresh)
    assert_it_can_be_taken_away(fresh, before)


def start(fresh: Computer) -> None:
    """Have it configured and started, as an administrator would."""
    fresh.write(CONFIG, SETTINGS)
    started = fresh.script("systemctl", "start", "buttermilkd")
    assert started.returncode == 0, fresh.system.log("buttermilkd*")
    until(lambda: fresh.script("buttermilkctl", "status").returncode == 0, "an answer of the daemon")


def assert_nothing_is_started_and_what_to_do_is_said(fresh: Computer, told: str) -> None:
    assert (active(fresh), active(fresh, "buttermilkd.socket")) == ("inactive", "inactive")
    assert fresh.system.property("buttermilkd.service", "UnitFileState") == "disabled"
    assert "next:\n" in told
    assert "sudo systemctl enable --now buttermilkd" in told


def assert_it_is_whole(fresh: Computer, before: set[str]) -> None:
    assert fresh.run("systemd-analyze", "verify", "buttermilkd.service", "buttermilkd.socket") == ""
    if shutil.which("man"):
        assert "create, watch and control" in fresh.run("man", "-P", "cat", "buttermilkctl")
        assert fresh.run("man", "--where", "5", "buttermilkd.toml").endswith("/man5/buttermilkd.toml.5\n")
    assert {
        "/usr/local/bin/buttermilkctl",
        "/usr/local/share/bash-completion/completions/buttermilkctl",
        "/usr/local/share/zsh/site-functions/_buttermilkctl",
        "/usr/local/share/man/man8/buttermilkd.8",
    } <= fresh.files() - before


def assert_a_bad_configuration_fails_once_and_the_doctor_knows_the_mend(fresh: Computer) -> None:
    fresh.write(CONFIG, "[daemon]\nconcurency = 3\n")

    assert fresh.script("systemctl", "start", "buttermilkd").returncode == 1

    assert fresh.system.property("buttermilkd.service", "ExecMainStatus") == "78"
    assert fresh.system.property("buttermilkd.service", "NRestarts") == "0"
    found = checks(fresh, "buttermilkctl", "root")
    assert "concurency" in found["configuration"]["detail"]
    assert found["buttermilkd.service"]["detail"].startswith("failed: its configuration")
    assert "buttermilkd --check-config" in found["buttermilkd.service"]["mend"]
    assert found["daemon"]["detail"] == "does not run, and was not asked, since that would start it"
    assert active(fresh) == "failed"


def assert_a_person_of_the_group_can_use_it(fresh: Computer, user: str) -> None:
    records = ("-r", "one", "-r", "two")
    fresh.run("buttermilkctl", "create", "count", *records, "--id", "first", "--wait", user=user)
    batch = json.loads(fresh.run("buttermilkctl", "status", "first", "--json", user=user))
    assert (batch["status"], batch["completed"]) == ("completed", 2)
    assert "counted one" in fresh.run("buttermilkctl", "logs", "first.1", user=user)
    assert "is ready" in fresh.run("journalctl", "--no-pager", "--unit=buttermilkd")
    owner = fresh.run("stat", "-c", "%A %U:%G", "/var/lib/buttermilkd").strip()
    assert owner == "drwxr-x--- buttermilk:buttermilk"
    assert_the_sockets_folder_is_roots_and_everybody_can_report(fresh, user)

    found = checks(fresh, "buttermilkctl", user)
    jobs = ("buttermilkd-jobs.service", "buttermilkd-jobs.socket")
    own = ("buttermilkd.service", "buttermilkd.socket", "account", "rights", "socket", "state", "queue")
    subjects = (*jobs, *own)
    assert [name for name in subjects if not found[name]["ok"]] == []
    assert str(found["state"]["detail"]).startswith("/var/lib/buttermilkd")


REPORT = "import socket; socket.socket(socket.AF_UNIX).connect('/run/buttermilkd/activity.sock')"


def assert_the_sockets_folder_is_roots_and_everybody_can_report(fresh: Computer, user: str) -> None:
    names = ("/run/buttermilkd", "/run/buttermilkd/activity")
    owners = fresh.run("stat", "-c", "%A %U:%G", *names).splitlines()
    assert owners == ["drwxr-xr-x root:root", "drwxr-xr-x buttermilk:buttermilk"]
    fresh.run(fresh.python[1] if fresh.python else "python3", "-c", REPORT, user=user)


def assert_who_is_not_in_the_group_may_not_cancel_and_is_told_how_to_be_allowed(fresh: Computer) -> None:
    fresh.add_user("bob")
    fresh.run("buttermilkctl", "create", "long", "-r", "one", "--id", "long", user="ada")

    refused = fresh.script("buttermilkctl", "cancel", "long", user="bob")
    assert refused.returncode == 4
    assert "error: cannot reach buttermilkd: this user may not connect" in refused.stderr
    assert "hint: sudo usermod -aG buttermilk bob, then log in again" in refused.stderr
    rights = checks(fresh, "buttermilkctl", "bob")["rights"]
    assert (rights["ok"], rights["mend"]) == (False, "sudo usermod -aG buttermilk bob, then log in again")

    # Where everybody may connect and read, the daemon itself refuses, in the same words.
    fresh.run("chmod", "0666", "/run/buttermilkd/control.sock")
    assert json.loads(fresh.run("buttermilkctl", "status", "long", "--json", user="bob"))["total"] == 1
    refused = fresh.script("buttermilkctl", "cancel", "long", user="bob")
    assert refused.returncode == 4
    assert "error: cannot do this as bob: only root" in refused.stderr
    assert "hint: sudo usermod -aG buttermilk bob, then log in again" in refused.stderr

    # The mend is one.
    fresh.run("chmod", "0660", "/run/buttermilkd/control.sock")
    fresh.run("usermod", "-aG", "buttermilk", "bob")
    assert "cancelled" in fresh.run("buttermilkctl", "cancel", "long", user="bob") + fresh.run(
        "buttermilkctl", "status", "long", user="bob"
    )


def assert_an_upgrade_leaves_alone_what_runs(fresh: Computer) -> Path:
    """The daemon goes on in the environment that it was started from, which is told, until somebody restarts it."""
    current = fresh.system.file("/opt/buttermilkd/current")
    older = current.parent / current.readlink()
    package = fresh.system.file(f"{PLACE}/buttermilkd/__init__.py")
    package.write_text(package.read_text() + "\n# of a newer version\n")
    pid = fresh.system.main_pid("buttermilkd.service")

    upgrade = fresh.install()

    assert "a restart is due" in upgrade
    assert "sudo systemctl restart buttermilkd" in upgrade
    assert fresh.system.main_pid("buttermilkd.service") == pid
    assert current.parent / current.readlink() != older
    assert older.exists()
    fresh.run("systemctl", "restart", "buttermilkd")
    until(lambda: fresh.script("buttermilkctl", "status").returncode == 0, "an answer after the restart")
    assert json.loads(fresh.run("buttermilkctl", "status", "first", "--json"))["completed"] == 2
    return older


def assert_a_second_installation_changes_nothing(fresh: Computer) -> None:
    again = fresh.install()

    assert CONFIG in words_of(again, "keep")
    assert words_of(again, "write") == set()
    assert "a restart is due" not in again
    assert fresh.system.file(CONFIG).read_text() == SETTINGS


def assert_what_is_changed_for_jobs_is_due_a_restart_as_well(fresh: Computer) -> None:
    changed = ("buttermilkctl", "service", "install", "--drop-in", "memory-deny-write-execute")
    assert "a restart is due" in fresh.run(*changed)
    fresh.run("systemctl", "restart", "buttermilkd")
    until(lambda: active(fresh, "buttermilkd-jobs.service") == "active", "the jobs' service")
    assert "a restart is due" not in fresh.run(*changed)


def assert_it_can_be_taken_away(fresh: Computer, before: set[str]) -> None:
    """Without a trace but what belongs to people; and that as well, if they say so."""
    removed = fresh.run("scripts/uninstall")

    assert active(fresh) == "inactive"
    left = {name for name in fresh.files() - before if not name.startswith("/home/")}
    assert {name for name in left if not name.startswith("/var/lib/buttermilkd/")} == {CONFIG}
    assert "/var/lib/buttermilkd/ledger.sqlite3" in left
    named = " ".join(words_of(removed, "leave"))
    assert all(
        one in named for one in ("/etc/buttermilkd", "/var/lib/buttermilkd", "user and group buttermilk")
    )

    for _ in range(2):  # one that has nothing to do is no error
        fresh.run("scripts/uninstall", "--purge")
        assert {name for name in fresh.files() - before if not name.startswith("/home/")} == set()
    assert fresh.script("id", "buttermilk").returncode == 1


KILLED_MIDWAY = """
set -m
until_there=$1
shift
scripts/install "$@" & install=$!
until ls -d /opt/buttermilkd/env.*/$until_there >/dev/null 2>&1; do
    kill -0 $install || exit 1
    sleep 0.01
done
kill -KILL -- -$install
wait $install
[ ! -e /opt/buttermilkd/current ]
"""
"""Ends the whole script, as a power cut would, once this is there in the environment that it fills."""


def test_an_installation_that_was_killed_midway_can_be_taken_away_and_repeated(fresh: Computer) -> None:
    before = fresh.files()
    fresh.run("bash", "-c", KILLED_MIDWAY, "bash", "pyvenv.cfg", *fresh.python)
    assert fresh.files() != before
    if shutil.which("python3", path="/usr/bin"):  # what removes it where nothing of it runs
        fresh.run("scripts/uninstall", "--purge")
        assert fresh.files() == before
        packages = "lib/python*/site-packages/pip"
        fresh.run("bash", "-c", KILLED_MIDWAY, "bash", packages, *fresh.python)

    fresh.install()

    assert len(list(fresh.system.file("/opt/buttermilkd").glob("env.*"))) == 1
    assert fresh.run("buttermilkctl", "--version").startswith("buttermilkctl ")
    fresh.run("rm", "-r", "/opt/buttermilkd/current/lib")  # damaged
    assert fresh.script("buttermilkctl", "--version").returncode != 0
    fresh.install()
    assert fresh.run("buttermilkctl", "--version").startswith("buttermilkctl ")


def test_a_person_without_root_has_a_daemon_of_their_own(fresh: Computer) -> None:
    fresh.add_user("ada")
    home = fresh.system.file("/home/ada")
    uid = home.stat().st_uid
    fresh.run("systemctl", "start", f"user@{uid}.service")
    session = {"XDG_RUNTIME_DIR": f"/run/user/{uid}"}
    bin_ = "/home/ada/venv/bin"
    python = fresh.python[1] if fresh.python else "python3"
    fresh.run(python, "-m", "venv", "/home/ada/venv", user="ada")
    # By root: Python keeps what it has compiled to the umask of whoever used the checkout before.
    fresh.run("cp", "-r", PLACE, "/home/ada/checkout")
    fresh.run("chown", "-R", "ada:", "/home/ada/checkout")
    fresh.run(f"{bin_}/python", "-m", "pip", "install", "--quiet", "/home/ada/checkout", user="ada")

    def ctl(*words: str) -> str:
        return fresh.run(f"{bin_}/buttermilkctl", *words, user="ada", **session)

    before = fresh.files()
    planned = ctl("service", "install", "--user", "--dry-run")
    assert fresh.files() == before
    told = ctl("service", "install", "--user")
    assert words_of(told, "write") == words_of(planned, "write")
    assert words_of(told, "write") <= fresh.files()
    config = home / ".config/buttermilkd/buttermilkd.toml"
    config.write_text(SETTINGS)

    fresh.run("systemctl", "--user", "start", "buttermilkd", user="ada", **session)
    until(lambda: "pid" in json.loads(ctl("status", "--json")), "an answer of the daemon")
    ctl("create", "count", "-r", "one", "--id", "first", "--wait")
    assert json.loads(ctl("idle", "--json"))["suspending"] == {"method": "freezer", "why": None}
    found = checks(fresh, f"{bin_}/buttermilkctl", "ada", **session)
    assert [
        name for name in ("buttermilkd.service", "buttermilkd.socket", "state") if not found[name]["ok"]
    ] == []
    assert found["state"]["detail"].startswith("/home/ada/.local/state/buttermilkd")

    told = ctl("service", "uninstall", "--user")
    assert words_of(planned, "write") & fresh.files() == {"/home/ada/.config/buttermilkd/buttermilkd.toml"}
    assert (home / ".local/state/buttermilkd/ledger.sqlite3").exists()
    named = " ".join(words_of(told, "leave"))
    assert "/home/ada/.config/buttermilkd" in named
    assert "/home/ada/.local/state/buttermilkd" in named
