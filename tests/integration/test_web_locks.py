"""The locks by which workers keep one daemon beside them."""

import subprocess
import sys
from pathlib import Path

import pytest

from buttermilkd.web.companion import _locks

FORKING = """
import fcntl, os, sys
from pathlib import Path
from buttermilkd.web.locks import Lock
lock, other = Lock(Path(sys.argv[1])), Lock(Path(sys.argv[1]))
assert lock.take(fcntl.LOCK_EX) and not other.take(fcntl.LOCK_EX)
ready, is_ready = os.pipe()
end, is_over = os.pipe()
if os.fork() == 0:
    os.close(is_over)
    os.write(is_ready, b"x")
    os.read(end, 1)
    os._exit(0)
os.read(ready, 1)
lock.close()
print(other.take(fcntl.LOCK_EX))
"""


def test_a_forked_child_holds_nothing_of_its_parents(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True\n"


def test_where_one_of_two_cannot_be_had_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "keeper").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            _locks(tmp_path / "lifeline", tmp_path / "keeper")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
