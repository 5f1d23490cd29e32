"""Memory that tensors leave goes back to the system, though small things lie between them."""

import os
import subprocess
import sys

PROGRAM = """
import os
import numpy
from gateway.engine.device.heap import settle_heap
from tests.facts import resident_mib

settle_heap()
numpy.ones(31 * 2**20, numpy.uint8)  # freed, it is what the C library takes large to be
before, large, small = resident_mib(os.getpid()), [], []
for _ in range(40):
    large.append(numpy.ones(8 * 2**20, numpy.uint8))
    small.append(numpy.ones(2**16, numpy.uint8))
full = resident_mib(os.getpid())
large.clear()
print((resident_mib(os.getpid()) - before) / (full - before))
"""


def test_what_is_freed_goes_back() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    assert float(told.stdout) < 0.2
