"""Schedulers on a model: those that are offered draw, those that would draw rubbish are not."""

import functools
import itertools
from collections.abc import Collection, Mapping
from typing import Any

import diffusers
import msgspec
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusionPipeline,
)

from gateway.catalog.cards import Steps
from gateway.catalog.folders import load_catalog
from gateway.catalog.samplers import SAMPLERS, SPACINGS, Choice, choose, classes_of
from gateway.catalog.sources.shipped import bundled
from gateway.engine.loading.loading import load
from gateway.engine.pipelines import call
from gateway.engine.pipelines.pixels import first_image
from gateway.engine.pipelines.schedulers import Schedulers, Trial, made
from gateway.job import Job
from tests.engine import tiny
from tests.engine.conftest import built
from tests.engine.workbench import ARGUMENTS, CPU

STEPS = (1, 2)
EMOJI = load_catalog((bundled("models"),), ()).endpoints["emoji"]
DIFFUSION = EulerDiscreteScheduler(beta_schedule="scaled_linear")
FLOW = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)


@pytest.mark.parametrize(
    ("own", "name", "config", "runs"),
    [
        (DIFFUSION, "DDIMScheduler", {}, True),
        (DIFFUSION, "LCMScheduler", {}, True),
        (DIFFUSION, "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, True),
        (DIFFUSION, "DDIMScheduler", {"use_karras_sigmas": True}, False),  # no such setting
        (DIFFUSION, "IPNDMScheduler", {}, False),  # its timesteps are not this model's
        (DIFFUSION, "FlowMatchEulerDiscreteScheduler", {}, False),
        (DIFFUSION, "DPMSolverMultistepScheduler", {"prediction_type": "sample"}, False),
        (DIFFUSION, "KarrasVeScheduler", {}, False),
        (DIFFUSION, "sync", {}, False),
        (DIFFUSION, "SchedulerMixin", {}, False),
        (FLOW, "UniPCMultistepScheduler", {}, True),
        (FLOW, "DPMSolverMultistepScheduler", {"solver_order": 1}, True),
        (FLOW, "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, False),
        (FLOW, "DDIMScheduler", {}, False),
        (FLOW, "DEISMultistepScheduler", {}, False),
        (FLOW, "FlowMatchEulerDiscreteScheduler", {}, False),  # the pipeline scales its input
        (FLOW, None, {}, True),
    ],
)
def test_what_runs_is_found_out_without_a_model(
    own: Any, name: str | None, config: dict[str, Any], runs: bool
) -> None:
    assert Trial(StableDiffusionPipeline, own).runs(name, config, (1, 4)) is runs


def test_how_a_pipeline_calls_its_scheduler_counts() -> None:
    trial = Trial(FluxPipeline, built("flux").scheduler)
    assert trial.runs("FlowMatchLCMScheduler", {}, STEPS)
    assert not trial.runs("FlowMatchHeunDiscreteScheduler", {}, STEPS)  # takes no sigmas


def test_another_class_keeps_what_the_model_was_trained_with() -> None:
    """diffusers drops values that are its own class's defaults, and others default otherwise."""
    own = DPMSolverMultistepScheduler()
    heun = made(own, diffusers.HeunDiscreteScheduler, {})
    assert (heun.config.beta_start, heun.config.beta_end) == (0.0001, 0.02)
    assert not made(own, DDIMScheduler, {}).config.clip_sample


def test_euler_on_the_bundled_model_is_its_solver_of_first_order() -> None:
    runs = functools.partial(Schedulers(lambda: {"emoji": EMOJI}).runs, "emoji")
    choice = choose("euler", "normal", runs)
    assert choice is not None
    assert choice.note is None
    assert (choice.cls, choice.config["solver_order"]) == ("DPMSolverMultistepScheduler", 1)


def test_what_is_not_on_this_disk_is_not_known() -> None:
    card = load_catalog((bundled("models"),), ()).endpoints["flux-schnell"]
    assert Schedulers(lambda: {"f": card}).runs("f", "EulerDiscreteScheduler", {}) is None


@pytest.mark.parametrize("family", [*tiny.FAMILIES, "emoji"])
def test_every_offered_pair_draws(family: str) -> None:
    pipeline = built(family) if family in tiny.FAMILIES else load(EMOJI, CPU).base
    trial = Trial(type(pipeline), pipeline.scheduler)
    found: dict[str, bool] = {}

    def runs(name: str | None, config: Mapping[str, Any]) -> bool:
        key = f"{name} {sorted(config.items())}"
        if key not in found:
            found[key] = trial.runs(name, config, STEPS)
        return found[key]

    pairs = list(itertools.product(SAMPLERS, SPACINGS))
    chosen = {pair: choose(*pair, runs) for pair in pairs}
    assert all(chosen["euler", spacing] for spacing in SPACINGS)
    choices = [choice for choice in chosen.values() if choice]
    choices += [Choice(name) for name in classes_of(runs)]
    distinct = {f"{choice.cls} {sorted(choice.config.items())}": choice for choice in choices}
    for choice in distinct.values():
        _draw(pipeline, family, choice)


def _draw(pipeline: Any, family: str, choice: Choice) -> None:
    job = Job(
        id="job", endpoint=family, prompt="a cat", num_inference_steps=STEPS[-1],
        guidance_scale=1.0, width=32, height=32, seeds=(7,), arguments=ARGUMENTS.get(family, {}),
        scheduler=choice.cls, scheduler_config=choice.config,
    )
    with torch.inference_mode():
        own = call.prepare(pipeline, job)
        image = first_image(own(**call.arguments(own, job, 7)))
    assert torch.isfinite(image).all(), choice


def test_a_card_of_many_steps_is_tried_on_few(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def runs(_self: Trial, _name: str, _config: Any, steps: Collection[int]) -> bool:
        tried.extend(steps)
        return True

    monkeypatch.setattr(Trial, "runs", runs)
    card = msgspec.structs.replace(EMOJI, steps=Steps(max=2000))
    assert Schedulers(lambda: {"e": card}).runs("e", "DDIMScheduler", {})
    assert max(tried) <= 10
