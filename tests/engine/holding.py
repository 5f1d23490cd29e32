"""A device that hangs: forwards of the real engine that do not come back until they may."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

SECONDS = 60


class Held:
    """The forwards that are held, but for the first few: those of whatever calls a convolution.

    Text encoders have none.
    """

    def __init__(self, num_free: int) -> None:
        self._num_free = num_free
        self._first: torch.nn.Module | None = None
        self._hang = threading.Event()
        self._may_go_on = threading.Event()

    def wait(self) -> None:
        """Until one is."""
        assert self._hang.wait(SECONDS), "no forward was begun"

    def let_go(self) -> None:
        """Have them come back."""
        self._may_go_on.set()

    def hold(self, module: torch.nn.Module, _given: Any) -> None:
        """Do not come back."""
        if not isinstance(module, torch.nn.Conv2d):
            return
        self._first = self._first or module
        self._num_free -= module is self._first
        if self._num_free < 0 and not self._may_go_on.is_set():
            self._hang.set()
            self._may_go_on.wait(SECONDS)


@contextmanager
def holding(num_free: int = 0) -> Iterator[Held]:
    """Hold the forwards of this process after some, until let go or until the block ends."""
    held = Held(num_free)
    hook = register_module_forward_pre_hook(held.hold)
    try:
        yield held
    finally:
        held.let_go()
        hook.remove()
