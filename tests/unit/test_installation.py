"""What an installation consists of: units are filled in, each step tells what it does, and all can be undone."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from buttermilkd.errors import ButtermilkError, MisconfiguredError, NotFoundError, NotPermittedError
from buttermilkd.installation.carrying import carry_out
from buttermilkd.installation.links import Link
from buttermilkd.installation.machine import demand_root, demand_systemd, demand_visible
from buttermilkd.installation.plans import PROGRAMS as PROGRAM_NAMES
from buttermilkd.installation.plans import Installed, installing, uninstalling
from buttermilkd.installation.steps import Remove, Run, Step, Write, draft_of
from buttermilkd.installation.targets import Target, machine, one_user
from buttermilkd.installation.templates import FOLDER, drop_ins, rendered, units

PROGRAMS = Path("/opt/buttermilkd/current/bin")
INSTALLED = Installed(PROGRAMS, PROGRAMS / "python")


@pytest.fixture(params=[False, True], ids=["machine", "user"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    return one_user({"HOME": str(tmp_path)}) if request.param else machine(tmp_path)


def told(steps: list[Step], *, dry_run: bool = True) -> list[str]:
    lines: list[str] = []
    carry_out(steps, lines.append, dry_run=dry_run)
    return lines


def files(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if not file.is_dir()}


def without_commands(steps: list[Step]) -> list[Step]:
    """All that can be done to a folder of its own; what the programs print is not there to be had."""

    def content_of(step: Write) -> Write:
        return step if step.content() is not None else Write(step.path, lambda: b"made", step.users)

    return [
        content_of(step) if isinstance(step, Write) else step for step in steps if not isinstance(step, Run)
    ]


@pytest.mark.parametrize("user", [False, True])
def test_every_unit_is_filled_in_with_the_folder_of_the_programs(user: bool) -> None:
    texts = {unit.name: rendered(unit, PROGRAMS) for unit in units(user=user)}

    assert {"buttermilkd.service", "buttermilkd.socket"} <= set(texts)
    assert not [name for name, text in texts.items() if "@bin@" in text]
    assert "\nExecStart=/opt/buttermilkd/current/bin/buttermilkd" in texts["buttermilkd.service"]


@pytest.mark.parametrize("folder", ["/opt/a b", "/opt/50%", "/opt/$x", "bin", '/opt/"'])
def test_a_folder_that_would_mean_something_else_in_a_unit_is_refused(folder: str) -> None:
    with pytest.raises(MisconfiguredError, match="cannot make units for programs in"):
        rendered(FOLDER / "buttermilkd.service", Path(folder))


def test_a_dry_run_tells_each_file_and_each_command_and_touches_nothing(
    target: Target, tmp_path: Path
) -> None:
    lines = told(list(installing(target, INSTALLED)))

    assert files(tmp_path) == set()
    subjects = [line.split(maxsplit=1)[1] for line in lines]
    for wanted in (
        target.config,
        *(target.units / unit.name for unit in units(user=target.user)),
        target.man / "man1/buttermilkctl.1",
        target.man / "man5/buttermilkd.toml.5",
        target.man / "man8/buttermilkd.8",
        target.bash / "buttermilkctl",
        f"{target.links / 'buttermilkctl'} -> {PROGRAMS}/buttermilkctl",
    ):
        assert str(wanted) in subjects
    assert lines[-1] == f"run    systemctl{' --user' if target.user else ''} daemon-reload"
    assert not [line for line in lines if "start" in line or "enable" in line]


def test_the_account_is_made_before_anything_belongs_to_it(tmp_path: Path) -> None:
    lines = told(list(installing(machine(tmp_path), INSTALLED)))

    assert lines[:4] == [
        f"write  {tmp_path}/etc/sysusers.d/buttermilkd.conf",
        f"run    systemd-sysusers {tmp_path}/etc/sysusers.d/buttermilkd.conf",
        f"write  {tmp_path}/etc/tmpfiles.d/buttermilkd.conf",
        f"run    systemd-tmpfiles --create {tmp_path}/etc/tmpfiles.d/buttermilkd.conf",
    ]


def test_a_second_installation_changes_nothing(target: Target) -> None:
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)

    again = told(without_commands(list(installing(target, INSTALLED))), dry_run=False)

    assert {line.split()[0] for line in again} == {"same", "keep"}


def test_an_installation_that_was_interrupted_anywhere_can_be_repeated(target: Target) -> None:
    whole = without_commands(list(installing(target, INSTALLED)))
    for number in range(len(whole)):
        told(whole[:number], dry_run=False)
    unit = target.units / "buttermilkd.service"
    unit.unlink()
    draft_of(unit).write_text("half")

    told(whole, dry_run=False)

    assert not draft_of(unit).exists()
    assert "\nExecReload=" in unit.read_text()


def test_a_draft_that_an_interrupted_installation_left_is_removed_with_the_rest(
    target: Target, tmp_path: Path
) -> None:
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)
    draft_of(target.man / "man8/buttermilkd.8").touch()

    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)

    assert files(tmp_path) == {target.config}


def test_a_configuration_that_is_there_is_kept(target: Target) -> None:
    target.config.parent.mkdir(parents=True)
    target.config.write_text("[daemon]\nconcurrency = 7\n")

    lines = told(without_commands(list(installing(target, INSTALLED))), dry_run=False)

    assert f"keep   {target.config}" in lines
    assert target.config.read_text() == "[daemon]\nconcurrency = 7\n"


def test_a_unit_of_an_older_version_is_replaced(target: Target) -> None:
    unit = target.units / "buttermilkd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/old\n")

    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)

    assert unit.read_text() == rendered(
        next(one for one in units(user=target.user) if one.name == unit.name), PROGRAMS
    )


def test_files_and_folders_are_for_everybody_to_read_whatever_the_umask(target: Target) -> None:
    before = os.umask(0o077)
    try:
        told(without_commands(list(installing(target, INSTALLED))), dry_run=False)
    finally:
        os.umask(before)

    unit = target.units / "buttermilkd.service"
    assert unit.stat().st_mode & 0o777 == 0o644
    assert unit.parent.stat().st_mode & 0o777 == 0o755


def test_what_is_installed_is_removed_again_and_what_is_the_users_own_stays(
    target: Target, tmp_path: Path
) -> None:
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)
    target.state.mkdir(parents=True)
    (target.state / "ledger.sqlite3").touch()
    edited = target.units / "buttermilkd.service.d/override.conf"
    edited.parent.mkdir()
    edited.touch()

    lines = told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)

    assert files(tmp_path) == {target.config, target.state / "ledger.sqlite3", edited}
    left = [
        line.split()[1] for line in lines if line.startswith("leave") and "the user and group" not in line
    ]
    assert left == [str(target.config.parent), str(target.state), str(edited.parent)]
    assert all("to remove it: " in line for line in lines if line.startswith("leave"))


def test_a_purge_removes_what_is_the_users_own_as_well(target: Target, tmp_path: Path) -> None:
    told(without_commands(list(installing(target, INSTALLED, ["google-key"]))), dry_run=False)
    target.state.mkdir(parents=True)

    told(without_commands(list(uninstalling(target, INSTALLED, purge=True))), dry_run=False)

    assert files(tmp_path) == set()
    assert not target.config.parent.exists()
    assert not target.state.exists()


def test_units_are_stopped_before_anything_is_removed(target: Target) -> None:
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)

    first = next(iter(uninstalling(target, INSTALLED)))

    assert isinstance(first, Run)
    assert first.words[: 4 + target.user] == target.systemctl("disable", "--now", "--quiet")
    assert {"buttermilkd.service", "buttermilkd.socket"} <= set(first.words)


def test_the_end_of_the_services_is_waited_for_however_long_their_jobs_take(target: Target) -> None:
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)

    first = next(iter(uninstalling(target, INSTALLED)))

    assert isinstance(first, Run)
    assert first.patience is None


def test_a_command_that_hangs_is_given_up() -> None:
    message, _ = raising(Run(("sleep", "1000"), patience=0.01).do, ButtermilkError)
    assert message.startswith("cannot run sleep 1000: ")


def test_a_folder_of_sockets_goes_unless_somebody_listens_there(tmp_path: Path) -> None:
    target = machine(tmp_path)
    assert target.runtime is not None
    target.runtime.mkdir(parents=True)
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as listener:
            listener.bind(str(target.runtime / "control.sock"))
            listener.listen()
            lines = told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)
            assert f"keep   {target.runtime}: somebody listens at control.sock" in lines
            assert (target.runtime / "control.sock").exists()
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody has called, which would start a service
                listener.accept()
        (target.runtime / "control.sock").unlink()
    (target.runtime / "left.sock").touch()

    assert f"remove {target.runtime}" in told(list(uninstalling(target, INSTALLED)))
    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)

    assert not target.runtime.exists()


def test_uninstalling_where_nothing_is_installed_has_next_to_nothing_to_do(target: Target) -> None:
    assert [step.verb for step in uninstalling(target, INSTALLED) if step.verb != "leave"] == ["run"]


def test_a_drop_in_is_added_only_where_it_is_asked_for_and_removed_unless_it_was_changed(
    tmp_path: Path,
) -> None:
    target = machine(tmp_path)
    path = target.units / "buttermilkd.service.d/google-key.conf"
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)
    assert not path.exists()

    told(without_commands(list(installing(target, INSTALLED, ["google-key"]))), dry_run=False)
    assert "LoadCredential=google.json:/etc/buttermilkd/google.json" in path.read_text()
    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)
    assert not path.parent.exists()

    told(without_commands(list(installing(target, INSTALLED, ["google-key"]))), dry_run=False)
    path.write_text("[Service]\nLoadCredential=google.json:/srv/key.json\n")
    told(without_commands(list(installing(target, INSTALLED, ["google-key"]))), dry_run=False)
    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)
    assert "/srv/key.json" in path.read_text()


def test_a_drop_in_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot install the drop-in nosuch") as refused:
        list(installing(machine(tmp_path), INSTALLED, ["nosuch"]))
    assert refused.value.hint is not None
    assert all(name in refused.value.hint for name in drop_ins())


def test_a_program_that_somebody_else_has_put_there_is_left_alone(tmp_path: Path) -> None:
    target = machine(tmp_path)
    other = target.links / "buttermilkctl"
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\n")

    assert f"keep   {other}" in told(without_commands(list(installing(target, INSTALLED))), dry_run=False)
    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)

    assert other.read_text() == "#!/bin/sh\n"


def test_a_link_to_programs_that_are_gone_is_replaced(tmp_path: Path) -> None:
    link, programs = tmp_path / "program", tmp_path / "bin/program"
    link.symlink_to(tmp_path / "gone")
    programs.parent.mkdir()
    programs.touch()
    step = Link(link, programs)

    step.do()

    assert link.resolve() == programs
    assert (step.verb, step.is_ours) == ("same", True)


def programs_in(folder: Path) -> Installed:
    """Programs that print something."""
    folder.mkdir(parents=True)
    for name in (*PROGRAM_NAMES, "python"):
        (folder / name).write_text("#!/bin/sh\necho printed\n")
        (folder / name).chmod(0o755)
    return Installed(folder, folder / "python")


def linked_by_pipx(target: Target, programs: Path) -> list[Path]:
    """The links that pipx makes where shells look for programs."""
    target.links.mkdir(parents=True)
    for name in PROGRAM_NAMES:
        (target.links / name).symlink_to(programs / name)
    return [target.links / name for name in PROGRAM_NAMES]


def test_links_that_pipx_has_made_are_used_and_stay_when_the_service_goes(
    target: Target, tmp_path: Path
) -> None:
    installed = programs_in(tmp_path / "pipx/venvs/buttermilkd/bin")
    links = linked_by_pipx(target, installed.folder)

    lines = told(without_commands(list(installing(target, installed))), dry_run=False)
    assert {f"same   {link}" for link in links} <= set(lines)
    told(without_commands(list(uninstalling(target, installed))), dry_run=False)

    assert [link.readlink() for link in links] == [installed.folder / name for name in PROGRAM_NAMES]


def test_a_link_of_somebody_else_stays_even_if_it_leads_nowhere(target: Target, tmp_path: Path) -> None:
    told(without_commands(list(installing(target, INSTALLED))), dry_run=False)
    link = target.links / "buttermilkctl"
    link.unlink()
    link.symlink_to(tmp_path / "gone")

    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)

    assert link.readlink() == tmp_path / "gone"
    assert not (target.links / "buttermilkd").is_symlink()


def test_links_of_an_installation_whose_programs_are_gone_are_removed_by_that_of_others(
    target: Target, tmp_path: Path
) -> None:
    gone = Installed(tmp_path / "gone", tmp_path / "gone/python")
    told(without_commands(list(installing(target, gone))), dry_run=False)

    told(without_commands(list(uninstalling(target, INSTALLED))), dry_run=False)

    assert files(tmp_path) == {target.config}


def test_links_of_ours_lead_to_the_programs_that_were_installed_last(target: Target, tmp_path: Path) -> None:
    for folder in ("older", "newer"):
        installed = programs_in(tmp_path / folder)
        told(without_commands(list(installing(target, installed))), dry_run=False)

    assert (target.links / "buttermilkctl").resolve() == tmp_path / "newer/buttermilkctl"


def test_programs_are_found_through_links_up_to_the_folder_that_is_one(tmp_path: Path) -> None:
    environment = tmp_path / "env.1/bin"
    environment.mkdir(parents=True)
    for name in ("buttermilkd", "buttermilkctl"):
        (environment / name).touch()
    (tmp_path / "current").symlink_to("env.1")
    (tmp_path / "called").symlink_to(tmp_path / "current/bin/buttermilkctl")

    assert Installed.found(str(tmp_path / "called")).folder == tmp_path / "current/bin"


def raising(action: Callable[[], None], kind: type[ButtermilkError]) -> tuple[str, str | None]:
    with pytest.raises(kind) as raised:
        action()
    return str(raised.value), raised.value.hint


def test_who_is_not_root_is_told_what_to_do() -> None:
    message, hint = raising(lambda: demand_root(INSTALLED, "install", 1000), NotPermittedError)

    assert message == "cannot install services of the whole machine: not root"
    assert hint is not None
    assert hint.startswith(f"sudo {PROGRAMS}/buttermilkctl service install")
    assert "service install --user" in hint


def test_a_machine_without_systemd_is_told_of(tmp_path: Path) -> None:
    demand_systemd(tmp_path)
    message, _ = raising(lambda: demand_systemd(tmp_path / "none"), ButtermilkError)
    assert message == "cannot install services: systemd does not run this machine"


def test_programs_that_services_cannot_see_or_start_are_refused_for_the_whole_machine(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    hidden = Installed(tmp_path, tmp_path / "python")
    message, hint = raising(lambda: demand_visible(hidden), ButtermilkError)
    assert message.endswith(f"what is below {Path('/tmp')} is hidden from them")
    assert hint is not None
    assert "scripts/install" in hint
    assert "service install --user" in hint

    shared = Installed(Path("/usr/sbin"), Path("/usr/bin/python3"))
    assert "no environment of their own" in raising(lambda: demand_visible(shared), ButtermilkError)[0]


def test_a_command_that_fails_says_why_and_what_to_do() -> None:
    step = Run(("sh", "-c", "echo first >&2; echo why >&2; exit 3"), hint="do this")
    message, hint = raising(step.do, ButtermilkError)
    assert message.endswith(": why")
    assert hint == "do this"
    assert "cannot run /no/such" in raising(Run(("/no/such",)).do, ButtermilkError)[0]


def test_a_file_that_cannot_be_written_or_removed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file/below"
    assert f"cannot write {path}" in raising(Write(path, lambda: b"").do, ButtermilkError)[0]
    assert f"cannot remove {path}" in raising(Remove(path).do, ButtermilkError)[0]
