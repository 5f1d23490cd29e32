"""Modules that samples share, and the samples that would change them.

Some pipelines put attention processors, hooks or attributes on a module for the time of
their call. Others are in the middle of theirs: so the change is refused, its sample begins
again once it is alone, and what it then leaves behind is taken back when it ends.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import greenlet
from torch import nn

from gateway.engine.pipelines.chance import Chancer

MARK = "_is_shared"
_NAMING = ("register_module", "register_buffer", "register_parameter")
_HOOKING = ("register_forward_hook", "register_forward_pre_hook")
_set: Callable[[nn.Module, str, Any], None] = nn.Module.__setattr__
_delete: Callable[[nn.Module, str], None] = nn.Module.__delattr__
_absent = object()


class MustBeAloneError(BaseException):
    """A sample would have changed a module that others use; no pipeline catches it."""


class Sharer(Chancer):
    """A greenlet that uses shared modules; one that `is_alone` may change them."""

    is_alone = False

    def __init__(self, run: Callable[[], Any]) -> None:
        super().__init__(run)
        self._undo: list[Callable[[], None]] = []

    def change(self, module: nn.Module, name: str) -> None:
        """Allow an attribute to be changed, and remember what it was.

        Raises:
            MustBeAloneError: others may be using the module.
        """
        self._check_alone(module)
        before = getattr(module, name, _absent)
        if before is _absent:
            self._undo.append(lambda: _delete(module, name))
        else:
            self._undo.append(lambda: _set(module, name, before))

    def hook(self, module: nn.Module, register: Callable[[], Any]) -> Any:
        """Register a hook that goes with the sample.

        Raises:
            MustBeAloneError: others may be using the module.
        """
        self._check_alone(module)
        handle = register()
        self._undo.append(handle.remove)
        return handle

    def take_back(self) -> None:
        """Undo every change, the last one first."""
        while self._undo:
            self._undo.pop()()

    def _check_alone(self, module: nn.Module) -> None:
        if not self.is_alone:
            raise MustBeAloneError(f"a call would change the shared {type(module).__name__}")


def share(modules: Iterable[nn.Module]) -> None:
    """Have samples ask before they change a module, or any module inside it."""
    _watch()
    for module in modules:
        for inner in module.modules():
            vars(inner)[MARK] = True


@functools.cache
def _watch() -> None:
    """Let every change of any module pass by here; outside of samples it costs a look."""

    def set_attribute(self: nn.Module, name: str, value: Any) -> None:
        sharer = _sharer(self)
        if sharer is not None and _differs(self, name, value):
            sharer.change(self, name)
        _set(self, name, value)

    def delete_attribute(self: nn.Module, name: str) -> None:
        if (sharer := _sharer(self)) is not None:
            sharer.change(self, name)
        _delete(self, name)

    kind: Any = nn.Module
    kind.__setattr__, kind.__delattr__ = set_attribute, delete_attribute
    for name in _NAMING:
        setattr(kind, name, _naming(getattr(kind, name)))
    for name in _HOOKING:
        setattr(kind, name, _hooking(getattr(kind, name)))


def _naming(register: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(register)
    def registered(self: nn.Module, name: str, *args: Any, **kwargs: Any) -> None:
        if (sharer := _sharer(self)) is not None:
            sharer.change(self, name)
        register(self, name, *args, **kwargs)

    return registered


def _hooking(register: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(register)
    def registered(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if (sharer := _sharer(self)) is not None:
            return sharer.hook(self, lambda: register(self, *args, **kwargs))
        return register(self, *args, **kwargs)

    return registered


def _sharer(module: nn.Module) -> Sharer | None:
    """The sample that is running, where the module is a shared one."""
    current = greenlet.getcurrent()
    return current if isinstance(current, Sharer) and MARK in vars(module) else None


def _differs(module: nn.Module, name: str, value: Any) -> bool:
    """Whether an attribute would become another; a new private one is a cache of its own."""
    before = getattr(module, name, _absent)
    if before is _absent:
        return not name.startswith("_")
    is_plain = isinstance(value, bool | int | float | str | None)
    return before is not value and not (is_plain and before == value)
