"""Pipelines that keep state outside their scheduler: what a sample changes is its own."""

from typing import Any

import pytest
import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    DiffusionPipeline,
    ImagePipelineOutput,
    StableDiffusionPAGPipeline,
)
from diffusers.configuration_utils import register_to_config

from gateway.job import Job, StepDone
from tests.engine import tiny
from tests.engine.workbench import TOLERANCE, Workbench, alone, difference, job, picture


class Inner(DiffusionPipeline):  # type: ignore[misc]
    """Steps latents with a scheduler and a guider of its own."""

    def __init__(self, net: Any, scheduler: Any, guider: Any) -> None:
        super().__init__()
        self.register_modules(net=net, scheduler=scheduler, guider=guider)

    def __call__(self, latents: Any, num_inference_steps: int, hint: Any) -> Any:
        self.scheduler.set_timesteps(num_inference_steps)
        for moment in self.scheduler.timesteps:
            drawn = self.guider(self.net(latents, hint))
            latents = self.scheduler.step(drawn, moment, latents).prev_sample
        return latents


class Outer(DiffusionPipeline):  # type: ignore[misc]
    """A pipeline of a pipeline."""

    def __init__(self, net: Any, scheduler: Any, guider: Any) -> None:
        super().__init__()
        self.register_modules(net=net, scheduler=scheduler, guider=guider)
        self.inner = Inner(net, scheduler, guider)

    @torch.no_grad()
    def __call__(
        self, prompt: str, num_inference_steps: int = 2, generator: Any = None,
        output_type: str = "pt",
    ) -> Any:
        latents = torch.randn(2, 3, 8, 8, generator=generator)
        layers = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1) * len(prompt) / 10
        latents = self.inner(latents, num_inference_steps, layers.expand(2, 2, 3, 1, 1))
        return ImagePipelineOutput(images=(latents[:1] / 4 + 0.5).clamp(0, 1))


class Momentum(ConfigMixin):  # type: ignore[misc]
    """A guider that remembers what it last saw."""

    config_name = "guider_config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, share: float = 0.5) -> None:
        self.seen: Any = None

    def __call__(self, drawn: Any) -> Any:
        self.seen = drawn if self.seen is None else self.config.share * (self.seen + drawn)
        return self.seen


class Layered(torch.nn.Module):
    """Takes `[layers, rows, …]` beside `[rows, …]`: no dimension says which is which."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, latents: Any, hint: Any) -> Any:
        return self.net(latents) + hint[0] - 0.5 * hint[1]


def outer() -> Outer:
    torch.manual_seed(0)
    return Outer(Layered().eval(), DDIMScheduler(), Momentum())


def pag() -> Any:
    """Perturbed attention: its call puts processors on the UNet, and takes them off."""
    made = StableDiffusionPAGPipeline(
        **tiny.build("sd").components, requires_safety_checker=False, pag_applied_layers=["up"]
    )
    made.set_progress_bar_config(disable=True)
    return made


def jobs_of(**more: Any) -> list[Job]:
    return [
        job("it", prompt, seed, steps, **more)
        for seed, (prompt, steps) in enumerate([("a", 2), ("two dogs", 3), ("cow", 1)], start=1)
    ]


@pytest.mark.parametrize(("build", "more"), [(outer, {}), (pag, {"guidance_scale": 2.0})])
def test_what_is_not_a_module_and_what_changes_one_is_each_samples_own(
    build: Any, more: dict[str, Any]
) -> None:
    pipeline, jobs = build(), jobs_of(**more)
    wanted = [alone(pipeline, one) for one in jobs]
    bench = Workbench({"it": pipeline})
    samples = [bench.add(one)[0] for one in jobs]
    bench.run()
    bench.close()
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE
    steps = [event.step for event in bench.events if isinstance(event, StepDone)]
    assert len(steps) == sum(one.num_inference_steps for one in jobs)


def test_a_call_that_changes_a_shared_module_is_alone_and_leaves_nothing_behind() -> None:
    pipeline = pag()
    before = dict(pipeline.unet.attn_processors)
    bench = Workbench({"it": pipeline})
    first, leaves = (bench.add(one)[0] for one in jobs_of(guidance_scale=2.0)[:2])
    bench.until(lambda: bench.hub.shelf.runs_alone("it") and first.num_steps_done >= 1)
    assert pipeline.unet.attn_processors != before
    first.is_cancelled = True
    bench.turn()
    assert pipeline.unet.attn_processors == before
    bench.run()
    assert picture(leaves) is not None
    assert pipeline.unet.attn_processors == before
    assert max(bench.denoiser_rows()) == 3  # of one sample: with, without and perturbed
    bench.close()


def test_pipelines_that_change_nothing_go_on_together() -> None:
    bench = Workbench({"it": tiny.build("sd")})
    for one in jobs_of():
        bench.add(one)
    bench.run()
    bench.close()
    assert not bench.hub.shelf.runs_alone("it")


def test_layers_that_equal_the_rows_are_not_taken_for_them() -> None:
    """The first forward of its form is compared with a call of its own, and not trusted."""
    pipeline = outer()
    one, other = (job("it", "abc", seed, 2) for seed in (1, 2))
    wanted = [alone(pipeline, each) for each in (one, other)]
    bench = Workbench({"it": pipeline})
    samples = [bench.add(each)[0] for each in (one, other)]
    bench.run()
    bench.close()
    for sample, image in zip(samples, wanted, strict=True):
        assert difference(picture(sample), image) <= TOLERANCE


class FirstRowsMask(torch.nn.Module):
    """Looks at the mask of its first row alone: right for equal masks, wrong for others."""

    def forward(self, latents: Any, mask: Any) -> Any:
        return latents * 0.9 + mask[0].sum() / 10


class Masked(DiffusionPipeline):  # type: ignore[misc]
    """Hands its model a mask as long as the prompt."""

    def __init__(self, net: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(net=net, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self, prompt: str, num_inference_steps: int = 2, generator: Any = None,
        output_type: str = "pt",
    ) -> Any:
        latents = torch.randn(1, 3, 8, 8, generator=generator)
        mask = (torch.arange(8) < len(prompt)).long()[None]
        for _ in range(num_inference_steps):
            latents = self.net(latents, mask=mask)
        return ImagePipelineOutput(images=(latents / 4 + 0.5).clamp(0, 1))


def test_calls_alike_under_equal_masks_are_proved_anew_under_others() -> None:
    pipeline = Masked(FirstRowsMask(), DDIMScheduler())
    bench = Workbench({"it": pipeline})
    for prompts in (("abc", "xyz"), ("abc", "x"), ("abcdef", "x", "xyz")):
        jobs = [job("it", prompt, seed, 2) for seed, prompt in enumerate(prompts)]
        wanted = [alone(pipeline, each) for each in jobs]
        samples = [bench.add(each)[0] for each in jobs]
        bench.run()
        for sample, image in zip(samples, wanted, strict=True):
            assert difference(picture(sample), image) <= TOLERANCE
    bench.close()
