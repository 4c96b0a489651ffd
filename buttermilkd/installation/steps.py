"""What an installation is made of, one step at a time. Each says what it would do now, and does it."""

import errno
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from buttermilkd.errors import ButtermilkError

PATIENCE = 300
"""Seconds for a command that has nobody to wait for."""
_MODE = 0o644
_FOLDER_MODE = 0o755

Content = Callable[[], bytes | None]
"""What a file is to hold; None as long as the program that makes it is not installed."""


class Step(Protocol):
    """One thing that is done to the machine."""

    @property
    def verb(self) -> str:
        """What ``do`` would do, as things are at this moment."""

    @property
    def subject(self) -> str:
        """What it is done to."""

    @property
    def changes(self) -> bool:
        """Whether ``do`` would change anything."""

    def do(self) -> None:
        """Do it.

        Raises:
            ButtermilkError: it cannot be done; the steps before it are, and all may be repeated.
        """


@dataclass(frozen=True, slots=True)
class Write:
    """A file. One that is the user's own is made once, and never touched again."""

    path: Path
    content: Content
    users: bool = False

    @property
    def verb(self) -> str:
        if self.users and self.path.exists():
            return "keep"
        return "same" if self._is_same() else "write"

    @property
    def subject(self) -> str:
        return str(self.path)

    @property
    def changes(self) -> bool:
        return self.verb == "write"

    def do(self) -> None:
        if not self.changes:
            return
        content = self.content()
        if content is None:
            raise ButtermilkError(f"cannot write {self.path}: the program that makes it is not installed")
        draft = draft_of(self.path)
        try:
            make_folder(self.path.parent)
            draft.unlink(missing_ok=True)  # of an installation that was interrupted
            with draft.open("xb") as file:
                os.fchmod(file.fileno(), _MODE)
                file.write(content)
            draft.replace(self.path)
        except OSError as error:
            raise ButtermilkError(f"cannot write {self.path}: {error.strerror}") from error

    def _is_same(self) -> bool:
        try:
            there = self.path.read_bytes()
        except OSError:
            return False
        return not self.path.is_symlink() and there == self.content()


@dataclass(frozen=True, slots=True)
class Run:
    """A command, which must succeed."""

    words: tuple[str, ...]
    hint: str | None = None
    patience: float | None = PATIENCE
    """Seconds; None where something else bounds it."""

    verb = "run"
    changes = True

    @property
    def subject(self) -> str:
        return " ".join(self.words)

    def do(self) -> None:
        try:
            done = subprocess.run(
                self.words,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.patience,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ButtermilkError(f"cannot run {self.subject}: {error}", hint=self.hint) from error
        if done.returncode:
            why = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
            raise ButtermilkError(f"cannot run {self.subject}: {why[-1]}", hint=self.hint)


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, a link or a whole folder that is there."""

    path: Path
    bases: tuple[Path, ...] = ()
    """Folders below which one that is left empty goes as well."""

    verb = "remove"
    changes = True

    @property
    def subject(self) -> str:
        return str(self.path)

    def do(self) -> None:
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
            for folder in self.path.parents:
                below = folder not in self.bases and any(base in folder.parents for base in self.bases)
                if not below or any(folder.iterdir()):
                    return
                folder.rmdir()
        except OSError as error:
            raise ButtermilkError(f"cannot remove {self.path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Clear:
    """A folder of sockets, which stays while somebody listens at one of them."""

    path: Path

    @property
    def verb(self) -> str:
        return "keep" if self._living() else "remove"

    @property
    def subject(self) -> str:
        living = self._living()
        return f"{self.path}: somebody listens at {living}" if living else str(self.path)

    @property
    def changes(self) -> bool:
        return not self._living()

    def do(self) -> None:
        if self.changes:
            Remove(self.path).do()

    def _living(self) -> str | None:
        """The name of one."""
        return next((file.name for file in sorted(self.path.iterdir()) if _is_listened_at(file)), None)


@dataclass(frozen=True, slots=True)
class Leave:
    """Something that belongs to the user, and stays."""

    what: str
    how: str
    """The command that removes it."""

    verb = "leave"
    changes = False

    @property
    def subject(self) -> str:
        return f"{self.what}    (to remove it: {self.how})"

    def do(self) -> None:
        pass


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.new")


def make_folder(folder: Path) -> None:
    """Make it and what it is in, passable for everybody whatever the umask is. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        one.chmod(_FOLDER_MODE)


def _is_listened_at(path: Path) -> bool:
    """Seen without a call, which would start a service: nobody listens for datagrams, and that is what is said then."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return path.is_socket() and probe.connect_ex(os.fspath(path)) in (0, errno.EPROTOTYPE)
