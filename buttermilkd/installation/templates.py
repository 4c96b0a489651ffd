"""The files that go with the package: units and their kin, in which ``@bin@`` stands for the programs' folder."""

from pathlib import Path

from buttermilkd.errors import MisconfiguredError

FOLDER = Path(__file__).parents[1] / "systemd"
PLACEHOLDER = "@bin@"
_UNITS = (".service", ".socket", ".slice")
_UNQUOTED = frozenset("/-_.+:@,=~")
"""What may be in the path of a program in a unit, beside letters and digits, and means itself there."""


def units(*, user: bool) -> list[Path]:
    """The templates of all units: those of the system's manager, or of a user's."""
    folder = FOLDER / "user" if user else FOLDER
    return sorted(file for file in folder.iterdir() if file.suffix in _UNITS)


def drop_ins() -> dict[str, Path]:
    """The templates of what may be added to a unit, by name: no unit has it unless somebody asks for it."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.service.d/*.conf"))}


def rendered(template: Path, programs: Path) -> str:
    """A template's text for programs in this folder.

    Raises:
        MisconfiguredError: the folder's path cannot be written in a unit.
    """
    text = template.read_text(encoding="utf-8")
    if PLACEHOLDER not in text:
        return text
    wrong = sorted({sign for sign in str(programs) if not (sign.isalnum() or sign in _UNQUOTED)})
    if not programs.is_absolute() or wrong:
        why = f"{wrong[0]!r} in it means something else in a unit" if wrong else "it is not absolute"
        raise MisconfiguredError(
            f"cannot make units for programs in {programs}: {why}",
            hint="install buttermilkd into a folder with a plain name, such as /opt/buttermilkd",
        )
    return text.replace(PLACEHOLDER, str(programs))
