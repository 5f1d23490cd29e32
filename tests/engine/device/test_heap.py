"""Memory that tensors leave is used again, and given back though small things lie between."""

import os
import subprocess
import sys

import pytest

from gateway.engine.device import heap
from gateway.engine.device.heap import BUSY_SECONDS, Heap

PROGRAM = """
import os
import numpy
from gateway.engine.device.heap import give_back, settle_heap
from tests.facts import resident_mib

settle_heap()
before, large, small = resident_mib(os.getpid()), [], []
for _ in range(40):
    large.append(numpy.ones(8 * 2**20, numpy.uint8))
    small.append(numpy.ones(2**16, numpy.uint8))
full = resident_mib(os.getpid())
large.clear()
kept = resident_mib(os.getpid())
give_back()
print((kept - before) / (full - before), (resident_mib(os.getpid()) - before) / (full - before))
"""


def test_what_is_freed_is_kept_until_it_is_given_back() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    kept, left = map(float, told.stdout.split())
    assert kept > 0.8, "it is there for the next picture"
    assert left < 0.2


def test_the_heap_is_given_back_at_rest_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    used, now = Heap(), 100.0
    monkeypatch.setattr(heap, "give_back", lambda: given.append(now))
    used.rest()
    assert not given
    for now in (100.0, 101.0, 130.0, 100 + BUSY_SECONDS):
        used.work(now)
    assert not given, "memory that goes and comes again is not flat"
    now = 101 + BUSY_SECONDS
    used.work(now)
    assert given == [now]
    assert used.is_used
    used.rest()
    used.rest()
    assert (len(given), used.is_used) == (2, False)
