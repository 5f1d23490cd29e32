"""How much memory an endpoint's weights take, told by the heads of its files."""

from typing import NamedTuple

from gateway.catalog.cards import EndpointCard
from gateway.catalog.gguf import ENDING
from gateway.catalog.headers import read_header
from gateway.catalog.parts import files_of
from gateway.catalog.weights import weights_of

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Memory(NamedTuple):
    """Bytes of weights on a GPU and on a CPU, where half precision may be kept as float32."""

    gpu_bytes: int
    cpu_bytes: int


def memory_of(card: EndpointCard) -> Memory:
    """What an endpoint's weights take once loaded; pictures in progress come on top.

    Raises:
        CardError: a file is no whole safetensors file.
    """
    files = weights_of(files_of(card))
    heads = [read_header(file) for file in files if file.suffix != ENDING]
    packed = sum(file.stat().st_size for file in files if file.suffix == ENDING)
    floats = sum(head.num_floats for head in heads)
    kept = packed + sum(head.kept_bytes for head in heads)
    on_cpu = _BYTES["bfloat16" if card.dtype == "bfloat16" else "float32"]
    return Memory(kept + floats * _BYTES.get(card.dtype, 2), kept + floats * on_cpu)
