"""What a repository holds whose pipeline comes in every form that people publish."""

import json
import tempfile
from pathlib import Path

from tests.catalog.making import INDEX, weights

SOURCE = "someone/painter"


def safetensors(mark: str, width: int = 1024) -> bytes:
    """A whole safetensors file of some KiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = weights(Path(folder) / "x", {mark: (8, width)})
        return path.read_bytes()


def shards(stem: str, ending: str = "") -> dict[str, bytes]:
    """Two shards and what lists them."""
    names = [f"{stem}{ending}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    inner = [name.rpartition("/")[2] for name in names]
    listed = json.dumps({"metadata": {}, "weight_map": dict(zip("ab", inner, strict=True))})
    place = f"{stem}.safetensors.index{ending}.json"
    return {names[0]: safetensors("a"), names[1]: safetensors("b"), place: listed.encode()}


MODEL = "diffusion_pytorch_model"
BARE = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b'{"sample_size": 64}',
    "vae/config.json": b'{"block_out_channels": [1, 1, 1, 1], "latent_channels": 4}',
    "text_encoder/config.json": b'{"a": 1}',
    "tokenizer/tokenizer_config.json": b'{"b": 1}',
    "tokenizer/vocab.json": b'{"c": 1}',
    "tokenizer/merges.txt": b"a b",
    "scheduler/scheduler_config.json": b"{}",
}
WHOLE = {
    f"unet/{MODEL}.safetensors": safetensors("unet", 65536),
    f"vae/{MODEL}.safetensors": safetensors("vae"),
    "text_encoder/model.safetensors": safetensors("text"),
}
HALF = {
    f"unet/{MODEL}.fp16.safetensors": safetensors("unet16"),
    "text_encoder/model.fp16.safetensors": safetensors("text16"),
}
OTHERS = {
    "painter.safetensors": safetensors("single"),
    "painter.fp16.safetensors": safetensors("single16"),
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    f"unet/{MODEL}.bin": b"pickle",
    f"unet/{MODEL}.fp16.bin": b"pickle",
    "unet/unet.onnx": b"onnx",
    "unet/flux.safetensors": safetensors("lost"),
    "text_encoder/pytorch_model.bin": b"pickle",
    "text_encoder/flax_model.msgpack": b"flax",
    "safety_checker/config.json": b"{}",
    "safety_checker/model.safetensors": safetensors("unwanted"),
    "images/example.png": b"png",
}
PLAIN = BARE | WHOLE | HALF | OTHERS | shards("text_encoder/model")
"""What transformers finds whole it does not read in shards."""
