"""What these tests share: one box for a whole run, and in it a daemon for each test."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.systemd.box import booted
from tests.systemd.services import DaemonService
from tests.systemd.system import Systemd

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def box() -> Iterator[Systemd]:
    with booted() as system:
        yield system


@pytest.fixture
def daemon(box: Systemd) -> Iterator[DaemonService]:
    """A daemon that is not started yet; it is stopped with whatever a test leaves of it."""
    daemon = DaemonService(box, f"daemon-{next(_NUMBERS)}")
    yield daemon
    daemon.stop()
