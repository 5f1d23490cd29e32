"""Building modules, which changes torch for all threads, and not letting a sample see it.

diffusers and transformers replace `torch.nn.Module`'s methods while they build, so that one
thread builds at a time; and torch's default dtype, which every tensor gets that a pipeline's own
arithmetic makes without one: meanwhile no turn of any engine in this process runs. Both hold the
interpreter while they are at it, and only for as long as the modules have no weights yet.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch


class Turns:
    """What runs while torch is as it should be; any number of threads at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: Counter[int] = Counter()
        self._is_held = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run something, once nothing is held back."""
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_held)
            self._running[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._running[thread] -= 1
                self._changed.notify_all()

    def hold(self) -> None:
        """Let others' turns end, and none begin."""
        thread = threading.get_ident()
        with self._changed:
            self._is_held = True
            self._changed.wait_for(lambda: self._running.total() == self._running[thread])

    def let_go(self) -> None:
        """Let them go on."""
        with self._changed:
            self._is_held = False
            self._changed.notify_all()


class Construction:
    """Entered to build modules: by one thread at a time.

    Whoever sets another default dtype meanwhile waits for the turns that run, and those after
    them wait until the default is back; it is in the end, also where building failed.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._set, self._default = torch.set_default_dtype, torch.get_default_dtype()
        torch.set_default_dtype = self._change

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._change(self._default)
        torch.set_default_dtype = self._set
        self._lock.release()

    def _change(self, dtype: torch.dtype) -> None:
        if dtype != self._default:
            self._turns.hold()
        self._set(dtype)
        if dtype == self._default:
            self._turns.let_go()


TURNS = Turns()
"""Those of all engines in this process."""

CONSTRUCTION = Construction(TURNS)

READING = threading.Lock()
"""Held while what builds no modules is read: many at once would have the engine's thread wait
for the interpreter behind all of them, and be no sooner there."""
