"""What is freed goes back to the system."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from buttermilkd.host.memory import keep_small
if sys.argv[1] == "steady":
    keep_small()

def heap():
    for line in open("/proc/self/maps"):
        if line.rstrip().endswith("[heap]"):
            first, last = line.split()[0].split("-")
            return int(last, 16) - int(first, 16)
    return 0

before = heap()
for _ in range(3):
    block = bytearray(16 * 2**20)
    del block
held = bytearray(8 * 2**20)
print(heap() - before)
"""


def growth_of_the_heap(how: str) -> int:
    """Bytes that a block of 8 MiB takes of the heap after some of 16 MiB were freed."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, how],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return int(done.stdout)


def test_a_large_block_is_no_part_of_the_heap_though_a_larger_one_was_freed_before() -> None:
    assert growth_of_the_heap("as usual") > 8 * 2**20
    assert growth_of_the_heap("steady") < 2**20
