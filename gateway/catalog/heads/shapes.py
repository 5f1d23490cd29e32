"""The names and shapes of a file's weights, whichever of its formats it is in."""

from pathlib import Path

from gateway.catalog.heads.endings import GGUF, ends
from gateway.catalog.heads.gguf import read_gguf
from gateway.catalog.heads.headers import Shapes, read_shapes


def shapes_of(file: Path) -> Shapes:
    """The shapes by name.

    Raises:
        CardError: it is no whole file of weights.
    """
    if ends(file, GGUF):
        return {name: packed.shape for name, packed in read_gguf(file).items()}
    return read_shapes(file)
