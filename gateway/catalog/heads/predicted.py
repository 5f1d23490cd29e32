"""What a model in a single file was trained to predict, where nothing but the file tells.

The layouts of Stable Diffusion are the same for models that predict noise and for those that
predict velocity; a picture of the one that is drawn as the other is a blur.
"""

from pathlib import Path
from typing import Any

from gateway.catalog.heads.endings import GGUF, ends
from gateway.catalog.heads.headers import LENGTH_BYTES, Tensor, read_facts, read_tensors

VELOCITY = {"prediction_type": "v_prediction"}
_MARKS: dict[str, dict[str, Any]] = {
    "v_pred": VELOCITY,
    "ztsnr": {"rescale_betas_zero_snr": True},
}
"""Weights of no account by which trainers say so, and what they mean to a scheduler."""

_NOTE, _OF_VELOCITY = "modelspec.prediction_type", ("v", "v_prediction")
_INNER = "transformer_blocks.0.norm1.bias"
_LAST_NORMS = (
    f"model.diffusion_model.output_blocks.11.1.{_INNER}", f"output_blocks.11.1.{_INNER}",
    f"up_blocks.3.attentions.2.{_INNER}",
)  # fmt: skip
_SPREAD_OF_VELOCITY = 0.09
"""ComfyUI's bound: of Stable Diffusion 2 this norm spreads further where velocity is predicted."""

_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def prediction_of(file: Path) -> dict[str, Any]:
    """What a file says of its model's prediction, as a scheduler's config has it.

    Raises:
        CardError: it is no whole file of weights.
    """
    if ends(file, GGUF):
        return {}
    tensors = read_tensors(file)
    found: dict[str, Any] = {}
    if read_facts(file).get(_NOTE) in _OF_VELOCITY:
        found |= VELOCITY
    for mark, meaning in _MARKS.items():
        found |= meaning if mark in tensors else {}
    return found


def predicts_noise(file: Path) -> bool:
    """Whether a file of Stable Diffusion 2 is of those that predict noise.

    Raises:
        CardError: it is no whole file of weights.
    """
    tensors = {} if ends(file, GGUF) else read_tensors(file)
    norm = next((tensors[name] for name in _LAST_NORMS if name in tensors), None)
    if norm is None or norm.dtype not in _KINDS or prediction_of(file):
        return False
    return float(_numbers(file, norm).std()) <= _SPREAD_OF_VELOCITY


def _numbers(file: Path, tensor: Tensor) -> Any:
    """A small weight's numbers."""
    import numpy  # noqa: PLC0415 — loading it takes longer than a port may be closed

    with file.open("rb") as data:
        begin = LENGTH_BYTES + int.from_bytes(data.read(LENGTH_BYTES), "little")
        data.seek(begin + tensor.data_offsets[0])
        read = numpy.frombuffer(data.read(tensor.size_bytes), _KINDS[tensor.dtype])
    if tensor.dtype == "BF16":  # the upper half of a float
        read = (read.astype("<u4") << 16).view("<f4")
    return read.astype(numpy.float64)
