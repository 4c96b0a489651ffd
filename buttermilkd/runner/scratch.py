"""The folder in which jobs leave their results. They have its owner's rights, so anything may have become of it."""

import logging
import os
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from buttermilkd.plurals import count

logger = logging.getLogger(__name__)

_MODE = 0o700


class Scratch:
    """Made usable again wherever that is possible; where it is not, a fresh folder in it is used instead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path

    def empty(self) -> None:
        """Make the folder, and remove what is in it. What cannot be removed is told of, and stays.

        Raises:
            OSError: there can be no such folder, or it is another user's.
        """
        self._path.mkdir(mode=_MODE, parents=True, exist_ok=True)
        _let_in(self._path)
        left = [one for one in self._path.iterdir() if not removed(one)]
        self._folder = self._path
        if left:
            what = count(len(left), "thing")
            logger.warning("cannot remove %s in %s, such as %s", what, self._path, left[0].name)
            self._begin_anew()

    def result(self, number: int) -> str:
        """Where the process of this number leaves its result: in a folder that it can write, and nothing is there.

        The path is text here and below: each job has one, and making ``Path``s of them costs more than looking there.
        """
        try:
            if os.lstat(self._folder).st_mode & _MODE != _MODE:
                self._folder.chmod(_MODE)
            if not removed(f"{self._folder}/{number}.json"):
                self._begin_anew()
        except OSError as error:
            logger.warning("cannot use %s for results: %s", self._folder, error.strerror)
            with suppress(OSError):  # else that job cannot write its result, and says so
                self._begin_anew()
        return f"{self._folder}/{number}.json"

    def _begin_anew(self) -> None:
        """Raises OSError."""
        fresh = self._path / secrets.token_hex(6)
        fresh.mkdir(mode=_MODE, parents=True)
        self._folder = fresh


def removed(path: str | Path) -> bool:
    """Whether nothing is there any more. What a job has shut is opened first; links are not followed."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    if not is_folder:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108
    else:
        shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):
            _open_up(Path(path))
            shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def _open_up(top: Path) -> None:
    """Let the owner into every folder, from the top down: ``os.walk`` looks into each after it was named."""
    _let_in(top)
    for folder, names, _ in os.walk(top):
        for name in names:
            _let_in(Path(folder, name))


def _let_in(folder: Path) -> None:
    with suppress(OSError):
        if not folder.is_symlink():
            folder.chmod(_MODE)
