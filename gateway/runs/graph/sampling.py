"""Samplers: where a job's draft is made from everything linked to it."""

import math
from typing import Any

from gateway.runs.graph.drafting import Sampling, sampled
from gateway.runs.graph.scope import Compile, Node, Scope
from gateway.runs.graph.values import Conditioning, Guider, Latent, Sigmas


def ksampler(node: Node, scope: Scope) -> tuple[Latent]:
    """KSampler: `denoise` below 1 redraws a part of a picture."""
    wanted = Sampling(
        guider=_guider(node),
        seed=node.get("seed", -1),
        sampler=node["sampler_name"],
        sigmas=Sigmas(node.id, node["scheduler"], node["steps"], node["denoise"]),
        latent=node["latent_image"],
    )
    return (sampled(node, scope, wanted),)


def ksampler_advanced(node: Node, scope: Scope) -> tuple[Latent]:
    """KSamplerAdvanced: starting late redraws a part of a picture; stopping early is refused.

    A pipeline's call returns finished pictures, so there is no leftover noise to pass on.
    """
    steps, start = node["steps"], node["start_at_step"]
    if node["end_at_step"] < steps:
        raise node.refuse("end_at_step", f"a pipeline's call runs all {steps} steps to the end")
    if node["return_with_leftover_noise"] == "enable":
        raise node.refuse("return_with_leftover_noise", "a pipeline's call leaves no noise")
    if node["add_noise"] == "disable":
        raise node.refuse("add_noise", "a pipeline's call adds the noise itself")
    if start >= steps:
        raise node.refuse("start_at_step", f"it leaves none of {steps} steps to run")
    left = steps - start
    wanted = Sampling(
        guider=_guider(node),
        seed=node.get("noise_seed", -1),
        sampler=node["sampler_name"],
        sigmas=Sigmas(node.id, node["scheduler"], left, left / steps),
        latent=node["latent_image"],
    )
    return (sampled(node, scope, wanted),)


def sampler_custom(node: Node, scope: Scope) -> tuple[Latent, Latent]:
    """SamplerCustom: both outputs are the finished pictures."""
    if not node["add_noise"]:
        raise node.refuse("add_noise", "a pipeline's call adds the noise itself")
    wanted = Sampling(
        guider=_guider(node),
        seed=node.get("noise_seed", -1),
        sampler=node["sampler"],
        sigmas=node["sigmas"],
        latent=node["latent_image"],
    )
    found = sampled(node, scope, wanted)
    return found, found


def sampler_custom_advanced(node: Node, scope: Scope) -> tuple[Latent, Latent]:
    """SamplerCustomAdvanced: everything comes linked."""
    wanted = Sampling(
        guider=node["guider"],
        seed=node["noise"],
        sampler=node["sampler"],
        sigmas=node["sigmas"],
        latent=node["latent_image"],
    )
    found = sampled(node, scope, wanted)
    return found, found


def random_noise(node: Node, scope: Scope) -> tuple[int]:
    """RandomNoise is its seed; without one it is drawn."""
    seed = node.get("noise_seed", -1)
    return (scope.draw_seed(node.id) if seed < 0 else seed,)


def disable_noise(node: Node, scope: Scope) -> tuple[int]:
    """DisableNoise: for samplers that go on where another left its noise."""
    raise node.refuse("noise", "a pipeline's call adds the noise itself")


def basic_guider(node: Node, scope: Scope) -> tuple[Guider]:
    """BasicGuider: no negative."""
    return (Guider(node["model"], node["conditioning"]),)


def cfg_guider(node: Node, scope: Scope) -> tuple[Guider]:
    """CFGGuider."""
    return (_guider(node),)


def sampler_select(node: Node, scope: Scope) -> tuple[str]:
    """KSamplerSelect is its sampler's name."""
    return (node["sampler_name"],)


def basic_scheduler(node: Node, scope: Scope) -> tuple[Sigmas]:
    """BasicScheduler."""
    return (Sigmas(node.id, node["scheduler"], node["steps"], node["denoise"]),)


def flux2_scheduler(node: Node, scope: Scope) -> tuple[Sigmas]:
    """Flux2Scheduler: its shift grows with the picture, as the endpoint's own scheduler's does."""
    return (Sigmas(node.id, "simple", node["steps"]),)


def turbo_scheduler(node: Node, scope: Scope) -> tuple[Sigmas]:
    """SDTurboScheduler: the last of ten evenly trailing timesteps."""
    denoise = node["denoise"]
    if not math.isclose(denoise, 1.0) and denoise * 10 < node["steps"]:
        raise node.refuse("denoise", f"of ten timesteps it leaves fewer than {node['steps']}")
    return (Sigmas(node.id, "sgm_uniform", node["steps"], denoise),)


def _guider(node: Node) -> Guider:
    positive: Conditioning = node["positive"]
    model: Any = node["model"]
    return Guider(model, positive, node["negative"], node["cfg"])


COMPILERS: dict[str, Compile] = {
    "KSampler": ksampler,
    "KSamplerAdvanced": ksampler_advanced,
    "SamplerCustom": sampler_custom,
    "SamplerCustomAdvanced": sampler_custom_advanced,
    "RandomNoise": random_noise,
    "DisableNoise": disable_noise,
    "BasicGuider": basic_guider,
    "CFGGuider": cfg_guider,
    "KSamplerSelect": sampler_select,
    "BasicScheduler": basic_scheduler,
    "Flux2Scheduler": flux2_scheduler,
    "SDTurboScheduler": turbo_scheduler,
}
