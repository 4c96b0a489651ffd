"""What all tests need."""

import signal
from collections.abc import Iterator

import pytest

from tests.emulator import Emulator, emulator

# Whoever starts the tests in the background of a shell has interrupts ignored, which all their children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    """One for all tests of a process: each uses a project of its own, and leaves the emulator running."""
    with emulator() as one:
        yield one
