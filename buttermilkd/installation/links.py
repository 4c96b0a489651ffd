"""Links to programs, where shells look for them: those that an installation makes, and knows again."""

import os
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.errors import ButtermilkError
from buttermilkd.installation.steps import make_folder


@dataclass(frozen=True, slots=True)
class Link:
    """A program's name in a folder where shells look for it. What somebody else has put there stays.

    Ours lead to ``FOLDER/./NAME``, by which they are known again: pipx makes links to the same programs in the same
    folders, and would miss them.
    """

    path: Path
    target: Path

    @property
    def is_ours(self) -> bool:
        """Whether such a step has made it, wherever it leads."""
        return self.path.is_symlink() and os.readlink(self.path).endswith(f"/./{self.path.name}")  # noqa: PTH115

    @property
    def verb(self) -> str:
        if self.is_ours:
            return "same" if self.path.readlink() == self.target else "link"
        if not self.path.exists():
            return "link"  # also where one leads to programs that are gone
        return "same" if _same_file(self.path, self.target) else "keep"

    @property
    def subject(self) -> str:
        return f"{self.path} -> {self.target}" if self.verb == "link" else str(self.path)

    @property
    def changes(self) -> bool:
        return self.verb == "link"

    def do(self) -> None:
        if not self.changes:
            return
        try:
            make_folder(self.path.parent)
            self.path.unlink(missing_ok=True)
            os.symlink(f"{self.target.parent}/./{self.target.name}", self.path)  # noqa: PTH211 - a Path drops the mark
        except OSError as error:
            raise ButtermilkError(f"cannot make the link {self.path}: {error.strerror}") from error


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
