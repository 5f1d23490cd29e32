"""How much memory an endpoint's weights take, told by the heads of its files."""

from typing import NamedTuple

from gateway.catalog.cards import EndpointCard
from gateway.catalog.headers import read_header
from gateway.catalog.weights import files_of, weights_of

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
    heads = [read_header(file) for file in weights_of(files_of(card))]
    floats, kept = sum(head.num_floats for head in heads), sum(head.kept_bytes for head in heads)
    on_cpu = _BYTES["bfloat16" if card.dtype == "bfloat16" else "float32"]
    return Memory(kept + floats * _BYTES.get(card.dtype, 2), kept + floats * on_cpu)
