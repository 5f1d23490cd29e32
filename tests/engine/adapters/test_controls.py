"""ControlNets: samples that are shown different pictures share forwards, and draw as alone."""

import inspect
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
    "sd3": "StableDiffusion3ControlNetPipeline",
    "flux": "FluxControlNetPipeline",
    "qwen_image": "QwenImageControlNetPipeline",
    "z_image": "ZImageControlNetPipeline",
}
SINGLE = {"z_image", "qwen_image"}
"""Families that have no several nets at a time."""

UNION = {"sdxl": "StableDiffusionXLControlNetUnionPipeline", "flux": "FluxControlNetPipeline"}


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
            case "sd3":
                found = diffusers.SD3ControlNetModel(**facts_of(
                    diffusers.SD3ControlNetModel, pipeline.transformer, num_layers=1
                ))
            case "qwen_image":
                found = diffusers.QwenImageControlNetModel(**facts_of(
                    diffusers.QwenImageControlNetModel, pipeline.transformer, num_layers=1
                ))
            case "z_image":
                found = diffusers.ZImageControlNetModel(
                    control_layers_places=[0], control_refiner_layers_places=[0],
                    control_in_dim=16, dim=32, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
                )
            case _:
                found = flux_net(pipeline)
        return settled(found)


def flux_net(pipeline: Any, num_modes: int | None = None) -> Any:
    return diffusers.FluxControlNetModel(**facts_of(
        diffusers.FluxControlNetModel, pipeline.transformer, num_layers=1, num_single_layers=1,
        num_mode=num_modes,
    ))


def facts_of(kind: Any, denoiser: Any, **more: Any) -> dict[str, Any]:
    """What a denoiser's configuration says that a kind of net knows, and more."""
    names = inspect.signature(kind).parameters
    return {name: value for name, value in denoiser.config.items() if name in names} | more


def union(family: str) -> Any:
    """A random net that reads pictures of three kinds."""
    pipeline = built(family)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if family == "flux":
            found = settled(flux_net(pipeline, 3))
            found.controlnet_mode_embedder.weight.data.mul_(20)
            return found
        return settled(diffusers.ControlNetUnionModel(**facts_of(
            diffusers.ControlNetUnionModel, pipeline.unet,
            conditioning_embedding_out_channels=(16, 32), num_control_type=3,
            num_trans_channel=32, num_proj_channel=32,
        )))


def settled(found: Any) -> Any:
    """With weights that nothing leaves at zero, and no bigger than layers stand."""
    for weight in found.parameters():
        if not weight.any() or not weight.isfinite().all():
            weight.data.normal_(std=0.3)
    return found.eval().requires_grad_(False)


def shown(seed: int) -> Pixels:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randint(0, 256, (32, 32, 3), generator=generator, dtype=torch.uint8)
    return Pixels(32, 32, 3, data.numpy().tobytes())


def use(route: str, seed: int, scale: float = 1.0, **more: Any) -> ControlUse:
    return ControlUse(route=route, image=shown(seed), scale=scale, **more)


def stock(family: str, kind: str, wanted: Job, nets: dict[str, Any]) -> Tensor:
    """The same through diffusers' own pipeline, built by hand.

    What it draws without its generator is drawn from the same seed.
    """
    pipeline = tiny.build(family)
    chosen = [nets[one.route] for one in wanted.controls]
    if "Union" in kind or hasattr(chosen[0], "nets"):
        chosen = chosen[:1]
    images = [
        Image.frombytes("RGB", (one.image.width, one.image.height), one.image.data)
        for one in wanted.controls
    ]
    scales = [one.scale for one in wanted.controls]
    ends = [one.end for one in wanted.controls]
    single = len(chosen) == 1
    lone = len(images) == 1
    own: Any = getattr(diffusers, kind)(
        **pipeline.components, controlnet=chosen[0] if single else chosen,
        **({"requires_safety_checker": False} if family == "sd" else {}),
    )
    own.set_progress_bar_config(disable=True)
    takes = inspect.signature(own.__call__).parameters
    name = "control_image" if "control_image" in takes else "image"
    more: dict[str, Any] = {name: images[0] if lone else images}
    modes = [one.mode for one in wanted.controls]
    if None not in modes:
        more["control_mode"] = modes[0] if lone else modes
    if family == "qwen_image":
        more["true_cfg_scale"] = 1.0
    if "control_guidance_end" in takes:
        more["control_guidance_end"] = ends[0] if lone else ends
    if wanted.images:
        first = wanted.images[0]
        more = {
            "control_image": images[0], "strength": wanted.strength,
            "control_guidance_end": ends[0],
            "image": Image.frombytes("RGB", (first.width, first.height), first.data),
        }
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(wanted.seeds[0])
        asked = wanted.num_inference_steps
        if wanted.images:
            asked = call.steps_to_ask(own, asked, wanted.strength or 1.0)
        return first_image(own(
            prompt=wanted.prompt, height=32, width=32, num_inference_steps=asked,
            generator=torch.Generator().manual_seed(wanted.seeds[0]), output_type="pt",
            controlnet_conditioning_scale=scales[0] if lone else scales, **more,
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
        job(family, "a cat", 1, 2),
    ]
    if family not in SINGLE:
        several = (use("canny", 3, 0.4), use("depth", 4))
        jobs.insert(0, job(family, "a fox", 3, 2, controls=several))
    bench = bench_of(family, tmp_path, nets)
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    assert not failures(bench.events)
    pictures = [picture(sample) for sample in samples]
    for one, drawn in zip(jobs[:-1], pictures, strict=False):
        assert difference(drawn, stock(family, FAMILIES[family], one, nets)) <= TOLERANCE
    assert difference(pictures[-3], pictures[-1]) > 10 * TOLERANCE


@pytest.mark.parametrize("family", UNION)
def test_a_net_of_many_kinds_is_told_which_each_picture_is(family: str, tmp_path: Path) -> None:
    nets = {"all": union(family)}
    jobs = [
        job(family, "a cat", 1, 2, controls=(use("all", 1, mode=0),)),
        job(family, "a cat", 1, 2, controls=(use("all", 1, mode=2),)),
        job(family, "a fox", 2, 2, controls=(use("all", 2, 0.4, mode=1), use("all", 3, mode=2))),
    ]
    bench = bench_of(family, tmp_path, nets)
    samples = [bench.add(one)[0] for one in jobs]
    untold = [
        bench.add(job(family, "a fox", 2, 1, controls=(use("all", 2, mode=mode),)))[0]
        for mode in (None, 3)
    ]
    bench.run()
    bench.close()
    pictures = [picture(sample) for sample in samples]
    for one, drawn in zip(jobs, pictures, strict=True):
        assert difference(drawn, stock(family, UNION[family], one, nets)) <= TOLERANCE
    assert difference(pictures[0], pictures[1]) > TOLERANCE
    for sample in untold:
        assert "wanted the 'mode' of each, from 0 to 2" in str(sample.fault)


def test_one_net_that_is_shown_several_pictures_and_nets_that_do_not_go_together(
    tmp_path: Path,
) -> None:
    nets = {"canny": net("qwen_image", 1), "depth": net("qwen_image", 2)}
    twice = job("qwen_image", "a fox", 3, 1, controls=(use("canny", 3, 0.4), use("canny", 4)))
    both = job("qwen_image", "a fox", 3, 1, controls=(use("canny", 3), use("depth", 4)))
    bench = bench_of("qwen_image", tmp_path, nets)
    drawn, refused = (bench.add(one)[0] for one in (twice, both))
    bench.run()
    bench.close()
    kind = diffusers.QwenImageMultiControlNetModel
    image = stock("qwen_image", FAMILIES["qwen_image"], twice, {"canny": kind([nets["canny"]])})
    assert difference(picture(drawn), image) <= TOLERANCE
    assert "only supports a single controlnet-union" in str(refused.fault)


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


@pytest.mark.parametrize(("family", "mode"), [("sd", None), ("sdxl", 1)])
def test_a_net_that_is_one_file_is_read_by_the_unets_shape(
    family: str, mode: int | None, tmp_path: Path
) -> None:
    own = net(family, 1) if mode is None else union(family)
    file = tmp_path / "canny.safetensors"
    save_file(own.state_dict(), file)
    card = ControlCard(endpoint=family, route="canny", source=file.name, path=file)
    catalog = Catalog({family: EndpointCard(id=family)}, {}, controls={(family, "canny"): card})
    bench = Workbench({family: built(family)}, catalog=catalog)
    wanted = job(family, "a cat", 1, 1, controls=(use("canny", 1, mode=mode),))
    sample = bench.add(wanted)[0]
    bench.run()
    bench.close()
    kind = FAMILIES[family] if mode is None else UNION[family]
    image = stock(family, kind, wanted, {"canny": own})
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
