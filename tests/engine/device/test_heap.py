"""Memory that tensors leave is used again, and given back though small things lie between."""

import os
import subprocess
import sys

import pytest

from gateway.engine.device import heap
from gateway.engine.device.heap import CHOSEN, Heap

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

DRAWING = """
import ctypes, random
from collections import deque
from gateway.engine.device.heap import settle_heap

settle_heap()
import torch

class Account(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Account

def made(size_bytes):
    return torch.empty(size_bytes, dtype=torch.uint8)

chance, before, most = random.Random(0), libc.mallinfo2().uordblks, 0
small = deque(maxlen=4000)
for picture in range(200):
    largest = 2 ** (24 if picture % 8 == 0 else 20)
    for size_bytes in (largest >> 8, largest >> 6, largest >> 4, largest >> 2, largest):
        state = made(size_bytes)
        for layer in range(6):
            normed = made(size_bytes)
            small.extend(map(made, chance.choices((16, 64, 256, 1024, 4000, 20000), k=2)))
            convolved = made(size_bytes)
            most = max(most, libc.mallinfo2().uordblks)
            state = normed
            del normed, convolved
    small.extend(made(chance.randrange(16, 3000)) for _ in range(40))
print((libc.mallinfo2().arena - before) / (most - before))
"""

SERVING = """
import ctypes, sys, threading
from click.testing import CliRunner
from gateway.cli.serve import serve

if "serve" in sys.argv:
    CliRunner().invoke(serve, ["--data", "/dev/null/nowhere"])
kept = []
thread = threading.Thread(target=lambda: kept.append(bytes(2**20)))
thread.start()
thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def printed(program: str, *arguments: str) -> str:
    """What a program says in a process of its own, where nobody has chosen how the heap is kept."""
    command = [sys.executable, "-c", program, *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(CHOSEN)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_what_is_freed_is_kept_until_it_is_given_back() -> None:
    kept, left = map(float, printed(PROGRAM).split())
    assert kept > 0.8, "it is there for the next picture"
    assert left < 0.2


def test_a_tensor_is_made_where_another_has_been() -> None:
    assert float(printed(DRAWING)) < 10, "the heap is many times what was ever in use of it"


def test_the_heap_is_given_back_at_rest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[None] = []
    used = Heap()
    monkeypatch.setattr(heap, "give_back", lambda: given.append(None))
    used.rest()
    used.work()
    used.work()
    assert not given, "memory that goes and comes again is not flat"
    assert used.is_used
    used.rest()
    used.rest()
    assert (len(given), used.is_used) == (1, False)


def test_threads_of_a_server_share_its_heap() -> None:
    assert printed(SERVING).count("<heap nr=") == 2
    assert printed(SERVING, "serve").count("<heap nr=") == 1
