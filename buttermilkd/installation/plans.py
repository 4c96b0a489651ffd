"""The steps that install buttermilkd, and those that take it away: the one place that knows all files."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.config.reference import reference
from buttermilkd.errors import ButtermilkError, NotFoundError
from buttermilkd.installation.links import Link
from buttermilkd.installation.steps import Clear, Content, Leave, Remove, Run, Step, Write, draft_of
from buttermilkd.installation.targets import Target
from buttermilkd.installation.templates import FOLDER, drop_ins, rendered, units

PROGRAMS = ("buttermilkd", "buttermilkctl")
PAGES = ("buttermilkctl.1", "buttermilkd.toml.5", "buttermilkd.8")
ACCOUNT = "buttermilk"
"""The daemon's user, and the group of those who may change things."""
CATALOG = "buttermilkd.catalog"
_PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Installed:
    """The programs that are installed: those in one folder, under one interpreter."""

    folder: Path
    python: Path

    @classmethod
    def found(cls, called_as: str) -> "Installed":
        """Those that this process is one of.

        Raises:
            NotFoundError: they are in no folder, as where Python was given the source code only.
        """
        python, program = Path(sys.executable), Path(called_as).absolute()
        while program.is_symlink():
            # Followed up to the program itself and no further: a folder that is a link, as that of the version in
            # use, is what units are to go by.
            program = program.parent / program.readlink()
        for folder in (program.parent, python.parent):
            if all((folder / program).exists() for program in PROGRAMS):
                return cls(folder, python)
        raise NotFoundError(
            f"cannot find the program buttermilkd beside {python}",
            hint="install it first: sudo scripts/install in a checkout, or pipx install buttermilkd",
        )

    def program(self, name: str) -> str:
        return str(self.folder / name)


def installing(target: Target, installed: Installed, wanted_drop_ins: Sequence[str] = ()) -> Iterator[Step]:
    """Everything that makes ``systemctl start buttermilkd`` work, and starts nothing.

    Raises:
        NotFoundError, MisconfiguredError: no such drop-in; the programs' folder has no plain name.
    """
    yield from _account(target)
    yield Write(target.config, reference().read_bytes, users=True)
    for template in units(user=target.user):
        yield Write(target.units / template.name, _text(rendered(template, installed.folder)))
    for name in wanted_drop_ins:
        template = _drop_in(name)
        path = target.units / template.parent.name / template.name
        yield Write(path, _text(rendered(template, installed.folder)), users=True)
    for shell, path in _completions(target).items():
        yield Write(path, _output(installed.program("buttermilkctl"), "completion", shell))
    for page in PAGES:
        yield Write(_page(target, page), _output(str(installed.python), "-m", "buttermilkd.manual", page))
    for program in PROGRAMS:
        if target.links != installed.folder:
            yield Link(target.links / program, installed.folder / program)
    yield from _catalog(target)
    hint = f"log in as this user: {_LINGER}" if target.user else None
    yield Run(target.systemctl("daemon-reload"), hint)


_LINGER = "sudo loginctl enable-linger $USER lets its services run without that"


def uninstalling(target: Target, installed: Installed, *, purge: bool = False) -> Iterator[Step]:
    """Takes away what ``installing`` has made, and with ``purge`` what belongs to the user as well."""
    names = [template.name for template in units(user=target.user)]
    present = [name for name in names if (target.units / name).exists()]
    catalog = target.catalog is not None and (target.catalog / CATALOG).exists()
    if present:
        # The daemon lets its jobs end, for as long as the configuration says; systemd bounds that.
        yield Run(target.systemctl("disable", "--now", "--quiet", *present), patience=None)
    for path in _files(target):
        # An installation that was interrupted may have left a draft.
        yield from (Remove(file, target.bases) for file in (draft_of(path), path) if file.exists())
    for program in PROGRAMS:
        link = Link(target.links / program, installed.folder / program)
        if link.is_ours:
            yield Remove(link.path)
    for drop_in in _own_drop_ins(target, installed):
        yield Remove(drop_in, (target.units,))
    if target.runtime and target.runtime.exists():
        yield Clear(target.runtime)
    yield Run(target.systemctl("daemon-reload"))
    if catalog:
        yield Run(("journalctl", "--update-catalog"))
    yield from _purging(target) if purge else _leaving(target)


def _account(target: Target) -> Iterator[Step]:
    """The user and the group, and the sockets' folder."""
    for folder, kind, command in (
        (target.sysusers, "sysusers.d", ("systemd-sysusers",)),
        (target.tmpfiles, "tmpfiles.d", ("systemd-tmpfiles", "--create")),
    ):
        if folder:
            template = FOLDER / kind / "buttermilkd.conf"
            yield Write(folder / template.name, template.read_bytes)
            yield Run((*command, str(folder / template.name)))


def _catalog(target: Target) -> Iterator[Step]:
    if target.catalog and (FOLDER / CATALOG).exists():
        yield Write(target.catalog / CATALOG, (FOLDER / CATALOG).read_bytes)
        yield Run(("journalctl", "--update-catalog"))


def _completions(target: Target) -> dict[str, Path]:
    found = {"bash": target.bash / "buttermilkctl", "fish": target.fish / "buttermilkctl.fish"}
    return found | ({"zsh": target.zsh / "_buttermilkctl"} if target.zsh else {})


def _page(target: Target, page: str) -> Path:
    return target.man / f"man{page[-1]}" / page


def _files(target: Target) -> Iterator[Path]:
    """All that ``installing`` writes and that is not the user's own."""
    for template in units(user=target.user):
        yield target.units / template.name
    for folder, name in (
        (target.sysusers, "buttermilkd.conf"),
        (target.tmpfiles, "buttermilkd.conf"),
        (target.catalog, CATALOG),
    ):
        if folder:
            yield folder / name
    yield from _completions(target).values()
    yield from (_page(target, page) for page in PAGES)


def _own_drop_ins(target: Target, installed: Installed) -> Iterator[Path]:
    """Those that nobody has changed since."""
    for template in drop_ins().values():
        path = target.units / template.parent.name / template.name
        if path.is_file() and path.read_text() == rendered(template, installed.folder):
            yield path


def _users_own(target: Target) -> Iterator[Path]:
    """What is left of an installation that belongs to the user."""
    places = [target.config.parent, target.state, *([target.cache] if target.cache else [])]
    places += [target.units / f"{unit.name}.d" for unit in units(user=target.user)]
    yield from (place for place in places if place.exists())


def _leaving(target: Target) -> Iterator[Step]:
    sudo = "" if target.user else "sudo "
    for place in _users_own(target):
        yield Leave(str(place), f"{sudo}rm -r {place}")
    if not target.user:
        yield Leave(f"the user and group {ACCOUNT}", f"sudo userdel {ACCOUNT}")


def _purging(target: Target) -> Iterator[Step]:
    yield from (Remove(place) for place in _users_own(target))
    if not target.user:
        yield Run(("sh", "-c", f"! getent passwd {ACCOUNT} >/dev/null || userdel {ACCOUNT}"))
        yield Run(("sh", "-c", f"! getent group {ACCOUNT} >/dev/null || groupdel {ACCOUNT}"))
    yield Run(target.systemctl("daemon-reload"))


def _drop_in(name: str) -> Path:
    known = drop_ins()
    if name not in known:
        raise NotFoundError(
            f"cannot install the drop-in {name}: there is none of this name",
            hint=f"there are: {', '.join(known)}",
        )
    return known[name]


def _text(text: str) -> Content:
    return text.encode


def _output(*command: str) -> Content:
    """What a program of the installation prints; nothing as long as there is no such program."""

    def made() -> bytes | None:
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
        except FileNotFoundError:
            return None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ButtermilkError(f"cannot run {' '.join(command)}: {error}") from error
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
            raise ButtermilkError(f"cannot run {' '.join(command)}: {why[-1]}")
        return done.stdout

    return made
