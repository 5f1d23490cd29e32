"""What a file's model predicts: told by its marks, its notes, or how its last norm spreads."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy
import pytest

from gateway.catalog.heads.layouts import config_of
from gateway.catalog.heads.predicted import prediction_of
from tests.catalog.making import write

UNET = "model.diffusion_model."
SD2_MARK = f"{UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
NORM = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
VELOCITY = {"prediction_type": "v_prediction"}
TERMINAL = {"rescale_betas_zero_snr": True}


def save(path: Path, weights: dict[str, Any], **facts: str) -> Path:
    """A safetensors file of arrays; those of 16 whole bits are bfloat16."""
    head: dict[str, Any] = {"__metadata__": facts} if facts else {}
    kinds, at = {"float16": "F16", "float32": "F32", "uint16": "BF16"}, 0
    for name, array in weights.items():
        told = {"dtype": kinds[array.dtype.name], "shape": array.shape}
        head[name] = told | {"data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(head).encode()
    data = b"".join(array.tobytes() for array in weights.values())
    return write(path, struct.pack("<Q", len(text)) + text + data)


def floats(spread: float, dtype: str) -> Any:
    """320 numbers that spread so far, in a dtype; `uint16` are the upper halves of floats."""
    plain = numpy.linspace(-spread * 3**0.5, spread * 3**0.5, 320, dtype=numpy.float32)
    halves = dtype == "uint16"
    return (plain.view(numpy.uint32) >> 16).astype(numpy.uint16) if halves else plain.astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint16"])
@pytest.mark.parametrize(("spread", "ending"), [(0.15, ""), (0.05, "-base")])
def test_stable_diffusion_2_of_either_kind_is_told(
    tmp_path: Path, dtype: str, spread: float, ending: str
) -> None:
    weights = {"a": floats(1, dtype), SD2_MARK: numpy.zeros((320, 1024), numpy.float16),
               NORM: floats(spread, dtype)}  # fmt: skip
    file = save(tmp_path / "sd2.safetensors", weights)
    assert config_of(file) == f"stabilityai/stable-diffusion-2-1{ending}"


@pytest.mark.parametrize(
    ("marks", "facts", "told"),
    [
        ((), {}, {}),
        (("v_pred",), {}, VELOCITY),
        (("v_pred", "ztsnr"), {}, VELOCITY | TERMINAL),
        ((), {"modelspec.prediction_type": "v"}, VELOCITY),
        ((), {"modelspec.prediction_type": "epsilon"}, {}),
    ],
)
def test_marks_and_notes_tell(
    tmp_path: Path, marks: tuple[str, ...], facts: dict[str, str], told: dict[str, Any]
) -> None:
    weights = dict.fromkeys(("a", *marks), numpy.zeros(0, numpy.float32))
    file = save(tmp_path / "xl.safetensors", weights, **facts)
    assert prediction_of(file) == told
