"""IP-Adapters: pictures beside the prompt draw what stock diffusers draws with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.engine.pipelines.pixels import first_image, to_image
from gateway.job import AdapterUse, ControlUse, Job
from tests.engine import tiny, tiny_loras
from tests.engine.pipelines.test_call import noise
from tests.engine.workbench import (
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)

FAMILIES = ("sd", "sdxl")
WIDTH, NUM_TOKENS, FILE = 16, 4, "ip-adapter.safetensors"


def saved(family: str, folder: Path, seed: int) -> Path:
    """An IP-Adapter as its authors publish them: one file, and what reads pictures."""
    unet, drawn = tiny.build(family).unet, torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=drawn)

    wide = unet.config.cross_attention_dim
    weights = {
        "image_proj.proj.weight": some(NUM_TOKENS * wide, WIDTH),
        "image_proj.proj.bias": some(NUM_TOKENS * wide),
        "image_proj.norm.weight": some(wide), "image_proj.norm.bias": some(wide),
    }  # fmt: skip
    crossing = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    for number, name in enumerate(crossing):
        high = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        for each in "kv":
            weights[f"ip_adapter.{2 * number + 1}.to_{each}_ip.weight"] = some(high, wide)
    folder.mkdir(parents=True)
    save_file(weights, folder / FILE)
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=WIDTH, num_hidden_layers=2,
        num_attention_heads=2, image_size=32, patch_size=8,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = transformers.CLIPVisionModelWithProjection(config)
    encoder.save_pretrained(folder / "image_encoder")
    return folder


def stock(family: str, wanted: Job, folders: list[Path], lora: Path | None = None) -> Tensor:
    """The same through diffusers' own loading."""
    pipeline: Any = tiny.build(family)
    if lora:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
    pipeline.load_ip_adapter(
        [str(folder) for folder in folders], subfolder="", weight_name=[FILE] * len(folders)
    )
    pipeline.set_ip_adapter_scale([use.scale for use in wanted.controls])
    with torch.inference_mode():
        return first_image(
            pipeline(
                wanted.prompt, ip_adapter_image=[to_image(use.image) for use in wanted.controls],
                num_inference_steps=wanted.num_inference_steps, height=32, width=32,
                guidance_scale=wanted.guidance_scale, output_type="pt",
                generator=torch.Generator("cpu").manual_seed(wanted.seeds[0]),
            )
        ).clone()  # fmt: skip


def use(route: str, seed: int, scale: float) -> ControlUse:
    return ControlUse(route=route, image=noise(3, seed), scale=scale)


def shown(family: str, seed: int, *uses: ControlUse, guidance: float = 1.0, **more: Any) -> Job:
    text = f"a {seed} cat"
    return job(family, text, seed, 2, guidance_scale=guidance, controls=uses, **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_beside_the_prompt_draw_what_stock_draws(family: str, tmp_path: Path) -> None:
    ink = saved(family, tmp_path / family / "ink", 1)
    style = saved(family, tmp_path / family / "style", 1)
    catalog = load_catalog((), (), (tmp_path,))
    assert catalog.controls_of(family) == ["ink", "style"]
    lora = tiny_loras.save(family, tmp_path, "wash")
    catalog = Catalog(
        {family: EndpointCard(id=family)}, {(family, "wash"): lora}, controls=catalog.controls
    )
    jobs = [
        shown(family, 1, use("ink", 1, 0.5)),
        shown(family, 2, use("ink", 2, 0.5)),
        shown(family, 3, use("ink", 1, 1.0), guidance=5.0),
        shown(family, 4, use("ink", 3, 0.7),
              use("style", 4, 0.3)),
        shown(family, 5, use("ink", 5, 0.5), adapters=(AdapterUse("wash", 1.0),)),
        shown(family, 6),
    ]  # fmt: skip
    bench = Workbench({family: tiny.build(family)}, catalog=catalog)
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    wanted = [
        *(stock(family, one, [ink]) for one in jobs[:3]),
        stock(family, jobs[3], [ink, style]),
        stock(family, jobs[4], [ink], lora.place),
        alone(tiny.build(family), jobs[5]),
    ]
    far = [difference(picture(one), image) for one, image in zip(samples, wanted, strict=True)]
    assert max(far) <= TOLERANCE, far
    bare = alone(tiny.build(family), shown(family, 1))
    assert difference(wanted[0], bare) > 100 * TOLERANCE


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    saved("sdxl", tmp_path / "sd/ink", 1)
    catalog = Catalog(
        {"sd": EndpointCard(id="sd")}, {}, controls=load_catalog((), (), (tmp_path,)).controls
    )
    bench = Workbench({"sd": tiny.build("sd")}, catalog=catalog)
    bench.add(shown("sd", 1, use("ink", 1, 0.5)))
    bench.run()
    bench.close()
    (fault,) = failures(bench.events)
    assert "no IP-Adapter for StableDiffusionPipeline" in fault.message
