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

THREADS = """
import sys, threading
from buttermilkd.host.memory import keep_small
if sys.argv[1] == "steady":
    keep_small()

def reserved():
    ends = (line.split()[0].split("-") for line in open("/proc/self/maps") if " ---p " in line)
    return sum(int(last, 16) - int(first, 16) > 32 * 2**20 for first, last in ends)

before, all_there, counted = reserved(), threading.Barrier(4), threading.Event()

def allocate():
    held = [bytearray(2000) for _ in range(10)]
    all_there.wait()
    counted.wait()

threads = [threading.Thread(target=allocate) for _ in range(3)]
for thread in threads:
    thread.start()
all_there.wait()
print(reserved() - before)
counted.set()
"""


def growth_of_the_heap(how: str) -> int:
    """Bytes that a block of 8 MiB takes of the heap after some of 16 MiB were freed."""
    return told(CODE, how)


def heaps_of_threads(how: str) -> int:
    """How many heaps of their own three threads have."""
    return told(THREADS, how)


def told(code: str, how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", code, how],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return int(done.stdout)


def test_a_large_block_is_no_part_of_the_heap_though_a_larger_one_was_freed_before() -> None:
    assert growth_of_the_heap("as usual") > 8 * 2**20
    assert growth_of_the_heap("steady") < 2**20


def test_threads_have_no_heaps_of_their_own() -> None:
    assert heaps_of_threads("as usual") > 0
    assert heaps_of_threads("steady") == 0
