"""ARCHITECTURE.md says what the code does: its diagram, its table of events and its map are compared with it."""

import configparser
import re
from pathlib import Path

from buttermilkd.jobs import TRANSITIONS, Event

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = (CHECKOUT / "ARCHITECTURE.md").read_text()


def section(title: str) -> str:
    """The text under this heading."""
    return re.split(r"^## ", DOCUMENT.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its heading."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def floors_of_the_contract() -> list[set[str]]:
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    layers = parser["importlinter:contract:floors"]["layers"].strip().splitlines()
    return [set(re.split(r" [|:] ", layer)) for layer in reversed(layers)]


def test_the_diagram_shows_the_transitions_that_the_code_allows() -> None:
    arrows = re.findall(r"^ +(\w+) --> (\w+): (.+)$", section("A job's life"), re.MULTILINE)

    allowed = {
        (source, target, event) for event, (sources, target) in TRANSITIONS.items() for source in sources
    }
    assert {(source, target, Event(event)) for source, target, event in arrows} == allowed
    assert len(arrows) == len(allowed)


def test_the_table_explains_every_event() -> None:
    assert [row[0] for row in rows(section("A job's life"))] == list(TRANSITIONS)


def test_the_map_shows_the_floors_of_the_import_contract() -> None:
    shown = [(int(floor), room.strip("`")) for floor, room, _ in rows(section("Floors and rooms"))]

    floors = floors_of_the_contract()
    assert set(shown) == {(number, room) for number, rooms in enumerate(floors, 1) for room in rooms}


def test_the_map_shows_every_room_of_the_package() -> None:
    shown = {room.strip("`") for _, room, _ in rows(section("Floors and rooms"))}

    package = CHECKOUT / "buttermilkd"
    built = {file.stem for file in package.glob("*.py")} | {
        file.parent.name for file in package.glob("*/__init__.py")
    }
    assert shown == built - {"__init__"}
