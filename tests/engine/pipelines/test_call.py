"""A job as a call of its pipeline: edits share forwards with generations, steps are as asked."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionImg2ImgPipeline

from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.engine.pipelines import call
from gateway.errors import UnsupportedValue
from gateway.job import Job, Pixels
from tests.engine import tiny
from tests.engine.conftest import built
from tests.engine.workbench import (
    TOLERANCE,
    Workbench,
    alone,
    difference,
    failures,
    job,
    picture,
)

VARIED = [
    "sd", "sdxl", "sd3", "flux", "flux2_klein", "sana_sprint", "z_image", "qwen_image", "lcm",
]
INPAINTED = ["sd", "sdxl", "sd3", "flux", "flux2_klein", "z_image", "qwen_image"]
WITHOUT_STRENGTH = {"flux2_klein"}


def noise(channels: int, seed: int, edge: int = 32) -> Pixels:
    """A picture of noise, or for one channel a mask of its right half."""
    if channels == 1:
        mask = torch.zeros(edge, edge, dtype=torch.uint8)
        mask[:, edge // 2 :] = 255
        return Pixels(edge, edge, 1, mask.numpy().tobytes())
    generator = torch.Generator().manual_seed(seed)
    data = torch.randint(0, 256, (edge, edge, channels), generator=generator, dtype=torch.uint8)
    return Pixels(edge, edge, channels, data.numpy().tobytes())


def edit(family: str, seed: int, steps: int, strength: float | None, **more: Any) -> Job:
    strength = None if family in WITHOUT_STRENGTH and "mask" not in more else strength
    # FLUX.2 takes no picture smaller than this.
    images = (noise(3, seed, 64 if family == "flux2_klein" else 32),)
    return job(family, f"edit {seed}", seed, steps, images=images, strength=strength, **more)


@pytest.mark.parametrize("family", VARIED)
def test_edits_share_forwards_with_generations_and_equal_alone(family: str) -> None:
    jobs = [
        edit(family, 1, 2, 0.5),
        edit(family, 2, 3, 0.9),
        job(family, "from nothing", 3, 3),
    ]
    check_concurrent_equals_alone(family, jobs)


@pytest.mark.parametrize("family", INPAINTED)
def test_inpainting_shares_forwards_and_equals_alone(family: str) -> None:
    jobs = [
        edit(family, 1, 2, 0.6, mask=noise(1, 0)),
        edit(family, 2, 3, 1.0, mask=noise(1, 0)),
        job(family, "from nothing", 3, 2),
    ]
    check_concurrent_equals_alone(family, jobs)


def test_an_endpoint_edits_several_pictures_by_instruction() -> None:
    pictures = (noise(3, 1, 64), noise(3, 2, 64))
    jobs = [
        job("flux2_klein", "put one into the other", 1, 2, images=pictures),
        job("flux2_klein", "the other way round", 2, 3, images=pictures[::-1]),
        job("flux2_klein", "make it blue", 4, 2, images=pictures[:1]),
        job("flux2_klein", "from nothing", 3, 3),
    ]
    check_concurrent_equals_alone("flux2_klein", jobs)


def test_an_edit_pipeline_of_the_card_shares_the_endpoints_modules() -> None:
    # Kontext would draw a megapixel otherwise, whatever size it is asked for.
    small = {"_auto_resize": False, "max_area": 32 * 32}
    jobs = [
        job("flux", "make it blue", 1, 2, images=(noise(3, 1),), arguments=small),
        job("flux", "make it red", 2, 3, images=(noise(3, 2),), arguments=small),
        job("flux", "from nothing", 3, 3),
        edit("flux", 4, 2, 0.5),  # a strength means redrawing, not an instruction
    ]
    card = EndpointCard(id="flux", edit_pipeline="FluxKontextPipeline")
    check_concurrent_equals_alone("flux", jobs, card)


def check_concurrent_equals_alone(
    family: str, jobs: list[Job], card: EndpointCard | None = None
) -> None:
    catalog = Catalog({family: card}, {}) if card else None
    bench = Workbench({family: built(family)}, catalog=catalog)
    loaded = bench.shelf.loaded[family]
    pipelines = [loaded.pipeline_for(one) for one in jobs]
    wanted = [alone(pipeline, one) for pipeline, one in zip(pipelines, jobs, strict=True)]
    bench.rows.clear()

    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    rows = bench.denoiser_rows()
    bench.close()

    assert not failures(bench.events)
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
        assert sample.num_steps_done == sample.job.num_inference_steps
    assert max(rows) >= 2


@pytest.mark.parametrize("family", [name for name in VARIED if name not in WITHOUT_STRENGTH])
@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_an_edit_runs_the_steps_it_was_asked_for(family: str, strength: float) -> None:
    bench = Workbench({family: built(family)})
    sample = bench.add(edit(family, 1, 2, strength))[0]
    calls: list[int] = []
    scheduler = type(built(family).scheduler)
    inner = scheduler.step

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return inner(*args, **kwargs)

    scheduler.step = counted
    try:
        bench.run()
    finally:
        scheduler.step = inner
        bench.close()
    assert picture(sample) is not None
    assert len(calls) == 2


@pytest.mark.parametrize("steps", range(1, 11))
@pytest.mark.parametrize("strength", [0.05, 0.1, 0.29, 1 / 3, 0.57, 0.58, 0.7, 0.9999, 1.0])
def test_steps_to_ask_where_a_family_rounds_down(steps: int, strength: float) -> None:
    pipeline = StableDiffusionImg2ImgPipeline.from_pipe(built("sd"))
    asked = call.steps_to_ask(pipeline, steps, strength)
    assert int(asked * strength) == steps


def test_strength_absent_is_the_pipelines_own() -> None:
    bench = Workbench({"sd": built("sd")})
    plain = bench.add(edit("sd", 1, 2, None))[0]
    same = bench.add(edit("sd", 1, 2, 0.8))[0]
    other = bench.add(edit("sd", 1, 2, 0.4))[0]
    bench.run()
    bench.close()
    assert difference(picture(plain), picture(same)) <= TOLERANCE
    assert difference(picture(plain), picture(other)) > TOLERANCE


def test_a_pipeline_with_another_autoencoder_than_its_familys_edits_too() -> None:
    pipeline = tiny.build("sd")
    torch.manual_seed(0)
    small = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    )
    pipeline.register_modules(vae=small.eval())
    bench = Workbench({"sd": pipeline})
    jobs = [edit("sd", 1, 2, 0.5), edit("sd", 2, 3, 0.9), job("sd", "a", 3, 2)]
    wanted = [alone(bench.shelf.loaded["sd"].pipeline_for(one), one) for one in jobs]
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE


def test_a_family_that_cannot_edit_says_so() -> None:
    bench = Workbench({"pixart_sigma": built("pixart_sigma")})
    bench.add(edit("pixart_sigma", 1, 2, 0.5))
    bench.run()
    bench.close()
    [fault] = failures(bench.events)
    assert fault.code == "unsupported_value"
    assert isinstance(fault.error(), UnsupportedValue)
    assert "cannot edit images" in fault.message


@pytest.mark.parametrize(
    "more",
    [{"scheduler": "NoSuchScheduler"}, {"scheduler": "UNet2DModel"}],
    ids=str,
)
def test_what_the_pipeline_cannot_do_is_the_clients_to_know(more: dict[str, Any]) -> None:
    bench = Workbench({"flux": built("flux")})
    bench.add(job("flux", "a", 1, 1, **more))
    bench.run()
    bench.close()
    assert [fault.code for fault in failures(bench.events)] == ["unsupported_value"]


def test_a_job_can_bring_its_own_scheduler_among_others() -> None:
    jobs = [
        job("sd", "a", 1, 2),
        job("sd", "a", 1, 2, scheduler="DDIMScheduler"),
        job("sd", "a", 1, 2, scheduler_config={"timestep_spacing": "trailing"}),
    ]
    bench = Workbench({"sd": built("sd")})
    wanted = [alone(built("sd"), one) for one in jobs]
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    assert difference(wanted[0], wanted[1]) > TOLERANCE
    assert difference(wanted[0], wanted[2]) > TOLERANCE
    assert type(built("sd").scheduler).__name__ == "EulerDiscreteScheduler"


def test_samples_leave_the_shared_pipeline_as_it_was() -> None:
    pipeline = tiny.build("sd")
    before = dict(vars(pipeline)), dict(pipeline.config)
    bench = Workbench({"sd": pipeline})
    bench.add(job("sd", "a", 1, 2, num_previews=1, guidance_scale=3.0))
    bench.run()
    bench.close()
    assert (dict(vars(pipeline)), dict(pipeline.config)) == before
