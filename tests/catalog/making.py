"""Folders of models and LoRAs as they lie on a disk, with weights of no account."""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from gateway.catalog.heads.gguf import BLOCKS

Shapes = dict[str, tuple[int, ...]]

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}
UNET: Shapes = {"down.attn2.to_k.weight": (320, 768), "down.attn1.to_q.weight": (320, 320)}


def write(path: Path, content: str | bytes | dict[str, Any]) -> Path:
    """A file, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def weights(path: Path, shapes: Shapes, **facts: str) -> Path:
    """A safetensors file of zeros."""
    head: dict[str, Any] = {"__metadata__": facts} if facts else {}
    at = 0
    for name, (high, wide) in shapes.items():
        end = at + 4 * high * wide
        head[name] = {"dtype": "F32", "shape": [high, wide], "data_offsets": [at, end]}
        at = end
    text = json.dumps(head).encode()
    return write(path, struct.pack("<Q", len(text)) + text + bytes(at))


def lora(path: Path, width: int, prefix: str = "unet.down.attn2.to_k", **facts: str) -> Path:
    """A LoRA of one layer that takes so wide an input."""
    names = (f"{prefix}.lora_A.weight", f"{prefix}.lora_B.weight")
    return weights(path, {names[0]: (4, width), names[1]: (320, 4)}, **facts)


def model(folder: Path, card: str = "") -> Path:
    """A folder of a whole model in diffusers' format; returns it."""
    write(folder / "card.toml", f'id = "{folder.name}"\n{card}')
    write(folder / "model_index.json", INDEX)
    modules: dict[str, Shapes] = {"unet": UNET, "vae": {"conv": (4, 4)}}
    for part, shapes in modules.items():
        write(folder / part / "config.json", "{}")
        weights(folder / part / "diffusion_pytorch_model.safetensors", shapes)
    write(folder / "text_encoder" / "config.json", "{}")
    weights(folder / "text_encoder" / "model.safetensors", {"text": (77, 1024)})
    write(folder / "tokenizer" / "tokenizer_config.json", "{}")
    write(folder / "scheduler" / "scheduler_config.json", '{"beta_end": Infinity}')
    return folder


def hollow(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file of zeros that takes no room on the disk."""
    head, at = {}, 0
    for name, shape in shapes.items():
        size = 2
        for each in shape:
            size *= each
        head[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return path


def hollow_gguf(path: Path, shapes: dict[str, tuple[int, ...]], *, kind: int = 1) -> Path:
    """A GGUF file of zeros that takes no room on the disk; of a type, else in float16."""
    block, block_bytes = BLOCKS[kind]
    head, at = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), 0), 0
    for name, shape in shapes.items():
        head += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}QIQ", *reversed(shape), kind, at)
        at += -(-prod(shape) // block * block_bytes // 32) * 32
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        file.truncate(file.tell() + at)
    return path
