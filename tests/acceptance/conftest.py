"""What the acceptance tests share."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.program import Daemon, processes_with, until


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon that is not started yet; whatever a test leaves of it is ended."""
    with daemon_of_its_own() as one:
        yield one


@contextmanager
def daemon_of_its_own() -> Iterator[Daemon]:
    """The same for as long as this lasts."""
    # Not tmp_path: a Unix socket's path may have no more than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    daemon = Daemon(folder)
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.process.kill()
        daemon.process.wait()
    until(lambda: not processes_with(str(folder)), "the end of every process of the daemon")
    shutil.rmtree(folder)
