"""The collector's pace in a service. In a process of its own, as the collector is the whole process's."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from p2pframe.garbage import YOUNG, Pace

full = []
gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
before = gc.get_threshold()
# What a node of a thousand sessions has.
live = [[n] for n in range(200_000)]
pace = Pace()
if {taken}:
    pace.begin()
    pace.begin()
    assert gc.get_freeze_count() > 200_000
full.clear()
# Pages, made and forgotten.
for _ in range(50):
    page = [{{"row": [n]}} for n in range(10_000)]
print(len(full) // 2)


class Knot:
    pass


def knot():
    one = Knot()
    one.itself = one
    one.content = bytearray(1000)


import weakref
one = Knot()
one.itself = one
gone = weakref.ref(one)
del one
for _ in range(YOUNG + 1000):
    knot()
assert gone() is None, "what refers to itself is collected still"
pace.end()
pace.end()
assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
"""


def collections(taken):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(taken=taken)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_pages_that_come_and_go_do_not_make_it_look_through_all_that_lives():
    assert collections(False) > 0, "by itself it does, or there is nothing to mend"
    assert collections(True) == 0
