"""What all tests need."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.emulator import Emulator, emulator

# Whoever starts the tests in the background of a shell has interrupts ignored, which all their children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test asserts a time: the machine may be busy with something else.
settings.register_profile("buttermilkd", deadline=None)
settings.load_profile("buttermilkd")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what makes a run thorough."""
    help_text = "have daemons die at every step that they have, not at a few of them"
    parser.addoption("--matrix", action="store_true", help=help_text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the figures that tests have recorded, by ``record_property("figure", …)``, whether they passed or not."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    figures = [str(value) for report in reports for name, value in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(sorted(set(figures))))


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    """One for all tests of a process: each uses a project of its own, and leaves the emulator running."""
    with emulator() as one:
        yield one
