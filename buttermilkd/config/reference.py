"""The commented configurations that go with the package: every key, with its default."""

from pathlib import Path

from buttermilkd.errors import NotFoundError

_PACKAGE = Path(__file__).parents[1]


def reference(name: str = "buttermilkd.toml") -> Path:
    """The file of this name: in the package where that is installed, beside it in a checkout.

    Raises:
        NotFoundError: the installation is not whole.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (file := folder / name).is_file():
            return file
    raise NotFoundError(
        f"cannot find {name}, which goes with the package, in {_PACKAGE}/conf",
        hint="install buttermilkd again",
    )
