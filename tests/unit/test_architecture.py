"""The import contracts of ``setup.cfg``."""

import configparser
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def lint_imports() -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--config", "setup.cfg", "--no-cache"]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_imports_go_down_the_floors_only() -> None:
    finished = lint_imports()

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " 0 broken" in finished.stdout


def test_every_contract_says_why_in_its_name() -> None:
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    contracts = [
        parser[section] for section in parser.sections() if section.startswith("importlinter:contract:")
    ]

    assert len(contracts) >= 8
    assert all(len(contract["name"].split()) > 5 for contract in contracts)
