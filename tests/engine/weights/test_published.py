"""Files as large as those that are published: nothing of them is read, all of their heads is.

Module trees are the models' own, without numbers, under the names that their authors gave them.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import transformers
from accelerate import init_empty_weights

from gateway.catalog.catalog import Model
from gateway.catalog.folders import load_catalog
from gateway.catalog.sources.parts import places_of
from gateway.catalog.sources.shipped import bundled, shipped_layout
from gateway.catalog.sources.weights import pipeline_class
from gateway.catalog.survey.survey import fault_of
from gateway.engine.weights.checkpoint import Checkpoint, Shapes, opened
from gateway.engine.weights.parts import fitting, own_conversion
from tests.catalog.making import hollow
from tests.engine import single_files
from tests.engine.renaming import Weights, flux1

SD, XL = "stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl"
SD2 = "stabilityai/stable-diffusion-2"
CLIP_L, CLIP_H, CLIP_G, VAE = 123_060_480, 340_387_840, 694_659_840, 83_653_863
NUMBERS: dict[str, tuple[int, tuple[int, ...]]] = {
    f"{SD}/stable-diffusion-v1-5": (859_520_964, (CLIP_L,)),
    f"{SD}/stable-diffusion-inpainting": (859_535_364, (CLIP_L,)),
    "timbrooks/instruct-pix2pix": (859_532_484, (CLIP_L,)),
    f"{SD2}-1": (865_910_724, (CLIP_H,)),
    f"{SD2}-1-base": (865_910_724, (CLIP_H,)),
    f"{SD2}-inpainting": (865_925_124, (CLIP_H,)),
    f"{XL}-base-1.0": (2_567_463_684, (CLIP_L, CLIP_G)),
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": (2_567_478_084, (CLIP_L, CLIP_G)),
    f"{XL}-refiner-1.0": (2_259_526_660, (CLIP_G,)),
}
"""How many numbers the published denoisers and text encoders have."""

Made = Callable[[Any, int], Weights]
FILES: dict[str, tuple[Made, str, tuple[int, int]]] = {
    f"{SD}/stable-diffusion-v1-5": (single_files.sd_file, "StableDiffusionPipeline", (512, 512)),
    f"{SD}/stable-diffusion-inpainting": (
        single_files.sd_file, "StableDiffusionInpaintPipeline", (512, 512)
    ),
    f"{SD2}-1-base": (single_files.sd2_file, "StableDiffusionPipeline", (512, 512)),
    f"{XL}-base-1.0": (single_files.sdxl_file, "StableDiffusionXLPipeline", (1024, 1024)),
}  # fmt: skip
"""Layouts that people have files of: how they are made, what draws them, and at what size."""


@cache
def hollow_part(library: str, cls: str, config: str) -> Any:
    """A module without numbers; many layouts share theirs."""
    told = json.loads(config)
    with init_empty_weights():
        if library == "diffusers":
            return getattr(diffusers, cls).from_config(told)
        kind = getattr(transformers, cls)
        return kind(kind.config_class(**told))


def hollow_parts(layout: Path) -> SimpleNamespace:
    """The modules of a pipeline's configs, without numbers."""
    index = json.loads((layout / "model_index.json").read_text())
    files = {name: layout / name / "config.json" for name in index}
    return SimpleNamespace(**{
        name: hollow_part(*index[name], file.read_text())
        for name, file in files.items() if file.is_file()
    })  # fmt: skip


def num_numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_layout_that_comes_along_is_counted_here() -> None:
    folders = {place.name for place in bundled("layouts").iterdir() if place.name != "clip"}
    assert folders == {repository.replace("/", "--") for repository in NUMBERS}


@pytest.mark.parametrize("repository", NUMBERS)
def test_configs_that_come_along_make_models_as_large_as_the_published(repository: str) -> None:
    layout = shipped_layout(repository)
    assert layout
    parts = vars(hollow_parts(layout))
    denoiser, encoders = NUMBERS[repository]
    assert num_numbers(parts["unet"]) == denoiser
    assert num_numbers(parts["vae"]) == VAE
    sizes = [num_numbers(part) for name, part in parts.items() if name.startswith("text_encoder")]
    assert sizes == list(encoders)
    for folder in layout.glob("tokenizer*"):
        tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder))
        ids = tokenizer("a photo of a cat", padding="max_length", max_length=9).input_ids
        is_first = folder.name == "tokenizer" and "stable-diffusion-2" not in repository
        assert ids == [49406, 320, 1125, 539, 320, 2368, 49407, *[49407 if is_first else 0] * 2]


@pytest.mark.parametrize("repository", FILES)
def test_a_published_file_is_an_endpoint_without_a_hub(tmp_path: Path, repository: str) -> None:
    made, pipeline, native = FILES[repository]
    layout = shipped_layout(repository)
    assert layout
    parts = hollow_parts(layout)
    weights = made(parts, 2)
    hollow(tmp_path / "mine.safetensors", {name: tuple(w.shape) for name, w in weights.items()})

    catalog = load_catalog((tmp_path,), ())
    card = catalog.endpoints["mine"]
    assert fault_of(Model(card), catalog) is None
    assert pipeline_class(card) == pipeline
    assert card.sizes.native == native
    for place in places_of(card):
        if place.file and place.library == "diffusers":
            part = getattr(parts, place.name)
            wanted = {name: weight.shape for name, weight in part.state_dict().items()}
            inside = opened(place.file, torch.float16)
            fitting(inside, wanted, dict(part.config), own_conversion(type(part)))


class Rows:
    """A file whose weights are as high as they are said to be, and one number wide."""

    def __init__(self, shapes: Shapes, weights: Weights) -> None:
        self.shapes = shapes
        self.weights = weights

    def read(self, name: str) -> torch.Tensor:
        return self.weights[name]


WIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "FLUX.1 dev": ("FluxTransformer2DModel", {"guidance_embeds": True}),
    "FLUX.1 schnell": ("FluxTransformer2DModel", {}),
    "Chroma": ("ChromaTransformer2DModel", {}),
}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("name", WIDE)
def test_what_is_converted_at_its_full_width_alone_has_each_row_in_its_place(
    name: str, prefix: str
) -> None:
    cls, more = WIDE[name]
    kind = getattr(diffusers, cls)
    with init_empty_weights():
        model = kind(num_layers=2, num_single_layers=2, **more)
    whole, at = model.state_dict(), 0
    rows: Weights = {}
    for path, weight in whole.items():
        numbers = torch.arange(at, at + len(weight), dtype=torch.float64)
        rows[path] = numbers[:, None] if weight.ndim == 2 else numbers
        at += len(weight)
    made = {prefix + path: weight for path, weight in flux1(rows).items()}
    shapes = {prefix + path: tuple(weight.shape) for path, weight in flux1(whole).items()}
    file = Checkpoint(Rows(shapes, made), {path: path for path in shapes})
    wanted = {path: weight.shape for path, weight in whole.items()}
    convert, part = fitting(file, wanted, dict(model.config), own_conversion(kind))
    found = convert(checkpoint=part, config=dict(model.config))
    assert all(torch.equal(found[path], weight) for path, weight in rows.items())
