"""Autoencoders that work tile by tile, picture by picture, from a size upward: less memory at once.

diffusers' autoencoders know how; it is an attribute of a module that everyone uses, so it is set
for the one forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.engine.pipelines.parking import METHODS, Entry

SETTINGS = ("use_tiling", "use_slicing")


@contextmanager
def tiled(entry: Entry, pixels: int) -> Iterator[None]:
    """Have an entry point's forward for pictures of so many pixels tiled, where it is to be."""
    most = entry.tiles_from
    if most is None or pixels < most or entry.method not in METHODS:
        yield
        return
    module: Any = entry.module
    changed: dict[str, int] = {name: True for name in SETTINGS if hasattr(module, name)}
    changed |= {name: max(1, size // entry.tile_shrink) for name, size in _sizes(module).items()}
    before = {name: getattr(module, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def _sizes(module: Any) -> dict[str, int]:
    """Edges and strides of an autoencoder's tiles, in pixels and latents."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.startswith("tile_") and isinstance(value, int) and "frames" not in name
    }
