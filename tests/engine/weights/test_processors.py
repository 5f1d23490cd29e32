"""Pipelines that read pictures with words, on a machine without torchvision."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageEditPipeline
from PIL import Image
from transformers import Qwen2VLImageProcessor

from gateway.catalog.folders import load_catalog
from gateway.engine.loading.loading import load
from tests.engine import tiny
from tests.engine.workbench import CPU


def test_an_editor_that_reads_pictures_comes_without_torchvision(tmp_path: Path) -> None:
    assert find_spec("torchvision") is None
    folder = tiny.save("qwen_image", tmp_path, id="edit")
    tokenizer: Any = tiny.tokenizer(1024)
    reader = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 4, patch_size=14)
    for part in (tokenizer, reader):
        part.save_pretrained(folder / "processor")
    index = (folder / "model_index.json").read_text()
    index = index.replace("QwenImagePipeline", "QwenImageEditPipeline").replace(
        "{", '{\n  "processor": ["transformers", "Qwen2VLProcessor"],', 1
    )
    (folder / "model_index.json").write_text(index)
    loaded = load(load_catalog((tmp_path,), ()).endpoints["edit"], CPU)
    assert isinstance(loaded.base, QwenImageEditPipeline)
    read = loaded.base.processor(
        text=["a <|image_pad|> b"], images=[Image.new("RGB", (56, 56), "red")],
        padding=True, return_tensors="pt",
    )  # fmt: skip
    assert read.pixel_values.shape[0] > 0
    assert torch.isfinite(read.pixel_values).all()
