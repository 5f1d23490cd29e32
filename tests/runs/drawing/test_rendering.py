"""Shared graphs render through tiny pipelines as a person's own pipeline calls do."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from gateway.accounts.keys import KeyStore
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.catalog.folders import load_catalog
from gateway.engine.local import LocalEngine
from gateway.images.darkroom import Darkroom
from gateway.images.decode import decode
from gateway.runs.drawing.perform import Equipment
from gateway.runs.drawing.planning import plan_of
from gateway.runs.graph.values import Draft
from gateway.runs.library.library import File
from gateway.runs.records import Order
from gateway.runs.runs import Runs
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.runs.graph import examples
from tests.runs.house import OWNER, draw, refuse

SIZES = {"native": [64, 64], "min": 16, "max": 256, "multiple_of": 16}
TOLERANCE = 2 / 255


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The endpoints of the examples, each a tiny random pipeline of its family."""
    folder = tmp_path_factory.mktemp("catalogue")

    def save(family: str, id: str, alias: str, **card: Any) -> None:
        steps = {"min": 1, "max": 50, "default": 4}
        tiny.save(
            family, folder / "models", id=id, steps=steps, sizes=SIZES, aliases=[alias], **card
        )

    save("sd", "sd15", "v1-5-pruned-emaonly.safetensors")
    save("sdxl", "sdxl", "sd_xl_base_1.0.safetensors")
    save("sdxl", "sdxl-turbo", "sd_xl_turbo_1.0_fp16.safetensors")
    save("flux", "flux-schnell", "flux1-schnell.safetensors")
    adapters = folder / "adapters"
    tiny_loras.save("sd", adapters / "sd15", "pixel-art")
    tiny_loras.save("sd", adapters / "sd15", "lcm_lora_weights")
    tiny_loras.save("sdxl", adapters / "sdxl", "sdxl_lightning_4step_lora", text=False)
    return load_catalog((folder / "models",), (adapters,))


@asynccontextmanager
async def drawing(catalog: Catalog, data: Path) -> AsyncIterator[Runs]:
    """Runs on the real engine."""
    torch.set_num_threads(1)
    settings = Settings(data=data, threads=1)
    engine = LocalEngine(catalog, settings)
    equipment = Equipment(
        engine=engine,
        collection=Collection.of(catalog),
        settings=settings,
        darkroom=Darkroom(settings),
    )
    await engine.start()
    try:
        async with Runs.opened(equipment, KeyStore(data), refuse) as runs:
            yield runs
    finally:
        await engine.stop(0)


def small(graph: examples.Graph) -> examples.Graph:
    """The graph at the tiny pipelines' size."""
    for node in graph.values():
        if "width" in node["inputs"]:
            node["inputs"] |= {"width": 64, "height": 64}
    return graph


def photo() -> bytes:
    """A picture with a hole in the middle."""
    ramp = np.zeros((64, 64, 4), np.uint8)
    ramp[..., 0], ramp[..., 1], ramp[..., 3] = np.arange(64) * 4, 128, 255
    ramp[16:48, 16:48, 3] = 0
    out = BytesIO()
    Image.fromarray(ramp).save(out, "png")
    return out.getvalue()


def rendered(catalog: Catalog, data: Path, graph: examples.Graph) -> tuple[Draft, list[Any]]:
    """The first draft of a graph, and the pictures of its run as floats."""

    async def test() -> list[Any]:
        async with drawing(catalog, data) as runs:
            for name in ("example.png", "yosemite.png"):
                file = File(f"img_{name[:4]}", OWNER, name, "image/png", 0, time.time())
                await runs.files.put(file.key, photo())
                await runs.library.add_file(file)
            (run,) = await draw(runs, Order(graph=graph))
            assert run.status == "success", run.error
            outputs = await runs.outputs(run.id)
            found = [await runs.files.get(item.key) for made in outputs for item in made.items]
            pictures = [decode(data or b"", "picture") for data in found]
            return [np.asarray(picture).astype(np.float32) / 255 for picture in pictures]

    drafts = plan_of(Order(graph=graph), catalog, Settings(data=data)).drafts
    return drafts[0], asyncio.run(test())


def by_hand(family: str, call: str | None, scheduler: Any, **arguments: Any) -> Any:
    """A picture by diffusers alone."""
    pipe = tiny.build(family)
    if scheduler is not None:
        pipe.scheduler = scheduler(pipe.scheduler.config)
    if call is not None:
        pipe = getattr(diffusers, call).from_pipe(pipe)
    pipe.set_progress_bar_config(disable=True)
    seed = arguments.pop("seed")
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.inference_mode():
        return pipe(**arguments, generator=generator, output_type="np").images[0]


def assert_same(picture: Any, expected: Any) -> None:
    assert np.abs(picture - expected).max() <= TOLERANCE


def test_text_to_image(catalog: Catalog, tmp_path: Path) -> None:
    _, (picture,) = rendered(catalog, tmp_path, small(examples.text_to_image()))
    expected = by_hand(
        "sd",
        None,
        lambda config: diffusers.EulerDiscreteScheduler.from_config(
            config, timestep_spacing="linspace"
        ),
        prompt="a lighthouse in fog",
        negative_prompt="text, watermark",
        guidance_scale=8.0,
        num_inference_steps=20,
        width=64,
        height=64,
        seed=156680208700286,
    )
    assert_same(picture, expected)


def test_image_to_image(catalog: Catalog, tmp_path: Path) -> None:
    _, (picture,) = rendered(catalog, tmp_path, small(examples.image_to_image()))
    expected = by_hand(
        "sd",
        "StableDiffusionImg2ImgPipeline",
        lambda config: diffusers.DPMSolverMultistepScheduler.from_config(
            config, timestep_spacing="linspace"
        ),
        prompt="a lighthouse in fog",
        negative_prompt="text, watermark",
        guidance_scale=8.0,
        image=Image.open(BytesIO(photo())).convert("RGB"),
        strength=0.75,
        num_inference_steps=27,
        seed=156680208700286,
    )
    assert_same(picture, expected)


def test_a_second_pass_over_a_scaled_latent(catalog: Catalog, tmp_path: Path) -> None:
    graph = small(examples.text_to_image(steps=4))
    graph["20"] = examples.node(
        "LatentUpscale",
        samples=["3", 0],
        upscale_method="nearest-exact",
        width=96,
        height=96,
        crop="disabled",
    )
    again = graph["3"]["inputs"] | {"latent_image": ["20", 0], "denoise": 0.5, "seed": 5}
    graph["21"] = examples.node("KSampler", **again)
    graph["22"] = examples.node("VAEDecode", samples=["21", 0], vae=["4", 2])
    graph["23"] = examples.node("SaveImage", images=["22", 0], filename_prefix="big")
    _, found = rendered(catalog, tmp_path, graph)
    first, second = sorted(found, key=lambda picture: picture.shape)
    same = {
        "prompt": "a lighthouse in fog",
        "negative_prompt": "text, watermark",
        "guidance_scale": 8.0,
    }

    def euler(config: Any) -> Any:
        return diffusers.EulerDiscreteScheduler.from_config(config, timestep_spacing="linspace")

    seed = 156680208700286
    expected = by_hand(
        "sd", None, euler, **same, num_inference_steps=4, width=64, height=64, seed=seed
    )
    assert_same(first, expected)
    start = Image.fromarray((first * 255).round().astype(np.uint8))
    big = start.resize((96, 96), Image.Resampling.NEAREST)
    call = "StableDiffusionImg2ImgPipeline"
    arguments = same | {"image": big, "strength": 0.5, "num_inference_steps": 8, "seed": 5}
    assert_same(second, by_hand("sd", call, euler, **arguments))


def test_flux(catalog: Catalog, tmp_path: Path) -> None:
    _, (picture,) = rendered(catalog, tmp_path, small(examples.flux()))
    expected = by_hand(
        "flux",
        None,
        None,
        prompt="a crystal clear lake",
        guidance_scale=3.5,
        num_inference_steps=4,
        width=64,
        height=64,
        seed=219670278747233,
    )
    assert_same(picture, expected)


def test_inpainting_keeps_what_the_mask_leaves(catalog: Catalog, tmp_path: Path) -> None:
    draft, (picture,) = rendered(catalog, tmp_path, small(examples.inpaint()))
    assert draft.mask is not None
    assert picture.shape == (64, 64, 3)


@pytest.mark.parametrize("make", ["lora_with_lcm", "lightning_lora", "turbo"])
def test_few_step_graphs_render(catalog: Catalog, tmp_path: Path, make: str) -> None:
    graph = small(getattr(examples, make)())
    draft, pictures = rendered(catalog, tmp_path, graph)
    assert len(pictures) == len(draft.seeds)
    assert all(picture.std() > 0.01 for picture in pictures)
    again = rendered(catalog, tmp_path / "again", graph)[1]
    assert all(np.array_equal(*pair) for pair in zip(pictures, again, strict=True))
