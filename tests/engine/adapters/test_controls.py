"""ControlNets: samples that are shown different pictures share forwards, and draw as alone."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from gateway.catalog.cards import ControlCard, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.pipelines import call
from gateway.engine.pipelines.pixels import first_image
from gateway.job import AdapterUse, ControlUse, Job, Pixels
from tests.engine import tiny, tiny_loras
from tests.engine.conftest import built
from tests.engine.workbench import TOLERANCE, Workbench, difference, failures, job, picture

FAMILIES = {
    "sd": "StableDiffusionControlNetPipeline",
    "sdxl": "StableDiffusionXLControlNetPipeline",
    "flux": "FluxControlNetPipeline",
}


def net(family: str, seed: int) -> Any:
    """A random ControlNet for a family's tiny denoiser."""
    pipeline = built(family)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        match family:
            case "sd" | "sdxl":
                found: Any = diffusers.ControlNetModel.from_unet(
                    pipeline.unet, conditioning_embedding_out_channels=(16, 32)
                )
            case _:
                found = diffusers.FluxControlNetModel.from_transformer(
                    pipeline.transformer, num_layers=1, num_single_layers=1,
                    attention_head_dim=16, num_attention_heads=2,
                )
        for weight in found.parameters():
            if not weight.any():
                weight.data.normal_(std=0.3)
    return found.eval().requires_grad_(False)


def shown(seed: int) -> Pixels:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randint(0, 256, (32, 32, 3), generator=generator, dtype=torch.uint8)
    return Pixels(32, 32, 3, data.numpy().tobytes())


def use(route: str, seed: int, scale: float = 1.0, **more: Any) -> ControlUse:
    return ControlUse(route=route, image=shown(seed), scale=scale, **more)


def stock(family: str, kind: str, wanted: Job, nets: dict[str, Any]) -> Tensor:
    """The same through diffusers' own pipeline, built by hand."""
    pipeline = tiny.build(family)
    chosen = [nets[one.route] for one in wanted.controls]
    images = [
        Image.frombytes("RGB", (one.image.width, one.image.height), one.image.data)
        for one in wanted.controls
    ]
    scales = [one.scale for one in wanted.controls]
    ends = [one.end for one in wanted.controls]
    single = len(chosen) == 1
    own: Any = getattr(diffusers, kind)(
        **pipeline.components, controlnet=chosen[0] if single else chosen,
        **({"requires_safety_checker": False} if family == "sd" else {}),
    )
    own.set_progress_bar_config(disable=True)
    name = "image" if kind.startswith("StableDiffusion") and family in ("sd", "sdxl") else (
        "control_image"
    )
    more: dict[str, Any] = {name: images[0] if single else images}
    if wanted.images:
        first = wanted.images[0]
        more = {
            "control_image": images[0], "strength": wanted.strength,
            "image": Image.frombytes("RGB", (first.width, first.height), first.data),
        }
    with torch.inference_mode():
        asked = wanted.num_inference_steps
        if wanted.images:
            asked = call.steps_to_ask(own, asked, wanted.strength or 1.0)
        return first_image(own(
            prompt=wanted.prompt, height=32, width=32, num_inference_steps=asked,
            generator=torch.Generator().manual_seed(wanted.seeds[0]), output_type="pt",
            controlnet_conditioning_scale=scales[0] if single else scales,
            control_guidance_end=ends[0] if single else ends, **more,
        ))


def bench_of(family: str, folder: Path, nets: dict[str, Any], **more: Any) -> Workbench:
    cards = {}
    for route, each in nets.items():
        each.save_pretrained(folder / route)
        cards[family, route] = ControlCard(
            endpoint=family, route=route, source=route, path=folder / route
        )
    catalog = Catalog({family: EndpointCard(id=family)}, more.pop("adapters", {}), controls=cards)
    return Workbench({family: built(family)}, catalog=catalog)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_those_of_the_familys_own_pipeline(family: str, tmp_path: Path) -> None:
    nets = {"canny": net(family, 1), "depth": net(family, 2)}
    jobs = [
        job(family, "a cat", 1, 2, controls=(use("canny", 1),)),
        job(family, "a dog", 2, 2, controls=(use("canny", 2),)),
        job(family, "a fox", 3, 2, controls=(use("canny", 3, 0.4), use("depth", 4))),
        job(family, "a cat", 1, 2),
    ]
    bench = bench_of(family, tmp_path, nets)
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    pictures = [picture(sample) for sample in samples]
    for one, drawn in zip(jobs[:3], pictures, strict=False):
        assert difference(drawn, stock(family, FAMILIES[family], one, nets)) <= TOLERANCE
    assert difference(pictures[0], pictures[3]) > 10 * TOLERANCE


def test_pictures_shown_to_one_net_share_its_forwards(tmp_path: Path) -> None:
    bench = bench_of("sd", tmp_path, {"canny": net("sd", 1)})
    bench.add(job("sd", "loads it", 9, 1, controls=(use("canny", 9),)))
    bench.run()
    bench.rows.clear()
    for seed in range(3):
        bench.add(job("sd", "a cat", seed, 1, controls=(use("canny", seed),)))
    bench.run()
    bench.close()
    assert not failures(bench.events)
    assert bench.denoiser_rows()[0] >= 3


def test_a_redrawn_picture_an_end_and_a_lora_go_with_it(tmp_path: Path) -> None:
    nets = {"canny": net("sd", 1)}
    card = tiny_loras.save("sd", tmp_path, "ink", text=False)
    wanted = job("sd", "a cat", 1, 3, controls=(use("canny", 1, 0.7, end=0.5),))
    redrawn = job("sd", "a cat", 1, 2, controls=(use("canny", 1),), images=(shown(5),),
                  strength=0.5)
    inked = job("sd", "a cat", 1, 2, controls=(use("canny", 1),),
                adapters=(AdapterUse("ink", 1.0),))
    bench = bench_of("sd", tmp_path, nets, adapters={("sd", "ink"): card})
    samples = [bench.add(one)[0] for one in (wanted, redrawn, inked)]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    assert difference(picture(samples[0]), stock("sd", FAMILIES["sd"], wanted, nets)) <= TOLERANCE
    kind = "StableDiffusionControlNetImg2ImgPipeline"
    assert difference(picture(samples[1]), stock("sd", kind, redrawn, nets)) <= TOLERANCE
    assert difference(picture(samples[2]), picture(samples[0])) > 10 * TOLERANCE


def test_a_net_that_is_one_file_is_read_by_the_unets_shape(tmp_path: Path) -> None:
    own = net("sd", 1)
    save_file(own.state_dict(), tmp_path / "canny.safetensors")
    file = tmp_path / "canny.safetensors"
    card = ControlCard(endpoint="sd", route="canny", source=file.name, path=file)
    catalog = Catalog({"sd": EndpointCard(id="sd")}, {}, controls={("sd", "canny"): card})
    bench = Workbench({"sd": built("sd")}, catalog=catalog)
    wanted = job("sd", "a cat", 1, 1, controls=(use("canny", 1),))
    sample = bench.add(wanted)[0]
    bench.run()
    bench.close()
    image = stock("sd", FAMILIES["sd"], wanted, {"canny": own})
    assert difference(picture(sample), image) <= TOLERANCE


def test_a_family_without_one_says_so(tmp_path: Path) -> None:
    own = net("sd", 1)
    own.save_pretrained(tmp_path / "canny")
    card = ControlCard(endpoint="lcm", route="canny", source="canny", path=tmp_path / "canny")
    catalog = Catalog({"lcm": EndpointCard(id="lcm")}, {}, controls={("lcm", "canny"): card})
    bench = Workbench({"lcm": built("lcm")}, catalog=catalog)
    bench.add(job("lcm", "a cat", 1, 1, controls=(use("canny", 1),)))
    bench.run()
    bench.close()
    [fault] = failures(bench.events)
    assert "has no form for ControlNets" in fault.message
