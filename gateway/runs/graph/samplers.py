"""ComfyUI's samplers and schedulers, as diffusers' scheduler classes and their config."""

from typing import Any

import msgspec


class Choice(msgspec.Struct, frozen=True):
    """A diffusers scheduler class and the config it is given over the pipeline's own.

    `cls` None keeps the pipeline's own scheduler.
    """

    cls: str | None
    config: dict[str, Any] = msgspec.field(default_factory=dict)


_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}

SAMPLERS: dict[str, Choice] = {
    "euler": Choice("EulerDiscreteScheduler"),
    "euler_ancestral": Choice("EulerAncestralDiscreteScheduler"),
    "heun": Choice("HeunDiscreteScheduler"),
    "dpm_2": Choice("KDPM2DiscreteScheduler"),
    "dpm_2_ancestral": Choice("KDPM2AncestralDiscreteScheduler"),
    "lms": Choice("LMSDiscreteScheduler"),
    "dpmpp_sde": Choice("DPMSolverSinglestepScheduler"),
    "dpmpp_2m": Choice("DPMSolverMultistepScheduler"),
    "dpmpp_2m_sde": Choice("DPMSolverMultistepScheduler", _SDE),
    "dpmpp_3m_sde": Choice("DPMSolverMultistepScheduler", _SDE | {"solver_order": 3}),
    "ddpm": Choice("DDPMScheduler"),
    "ddim": Choice("DDIMScheduler"),
    "lcm": Choice("LCMScheduler"),
    "ipndm": Choice("IPNDMScheduler"),
    "deis": Choice("DEISMultistepScheduler"),
    "sa_solver": Choice("SASolverScheduler"),
    "uni_pc": Choice("UniPCMultistepScheduler"),
    "uni_pc_bh2": Choice("UniPCMultistepScheduler", {"solver_type": "bh2"}),
}
"""For models that predict noise or velocity on a diffusion schedule."""

FLOW_SAMPLERS: dict[str, Choice] = {
    "euler": Choice(None),
    "heun": Choice("FlowMatchHeunDiscreteScheduler"),
    "lcm": Choice("FlowMatchLCMScheduler"),
    "dpmpp_2m": Choice(
        "DPMSolverMultistepScheduler",
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    ),
    "uni_pc": Choice(
        "UniPCMultistepScheduler",
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    ),
}
"""For flow-matching models, whose own scheduler is Euler."""

NEAREST = {"res_multistep": "dpmpp_2m"}
"""Samplers that diffusers lacks, and those of the same order and kind that stand in for them."""

for _lacking, _present in NEAREST.items():
    SAMPLERS[_lacking] = SAMPLERS[_present]
    FLOW_SAMPLERS[_lacking] = FLOW_SAMPLERS[_present]

SPACINGS: dict[str, dict[str, Any]] = {
    "normal": {"timestep_spacing": "linspace"},
    "simple": {"timestep_spacing": "trailing"},
    "sgm_uniform": {"timestep_spacing": "trailing"},
    "ddim_uniform": {"timestep_spacing": "leading"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
"""What ComfyUI calls a scheduler, diffusers says in the scheduler's config."""

_SPACED = frozenset({"normal", "simple", "sgm_uniform", "ddim_uniform"})
_SIGMAS = frozenset({"karras", "exponential", "beta"})
_PLAIN_FLOW = frozenset({"normal", "simple", "sgm_uniform"})

_TAKES: dict[str | None, frozenset[str]] = {
    "EulerAncestralDiscreteScheduler": _SPACED,
    "KDPM2AncestralDiscreteScheduler": _SPACED,
    "DDPMScheduler": _SPACED,
    "DDIMScheduler": _SPACED,
    "DPMSolverSinglestepScheduler": _SIGMAS | {"normal"},
    "FlowMatchHeunDiscreteScheduler": _PLAIN_FLOW,
}
"""The classes that cannot be combined with every scheduler, and what they can."""

_OWN_TIMES = {"LCMScheduler", "IPNDMScheduler", "FlowMatchLCMScheduler"}
"""Classes that choose their timesteps themselves."""


def sampler_names() -> list[str]:
    """Every sampler that some model takes."""
    return list(SAMPLERS)


def scheduler_names() -> list[str]:
    """Every scheduler that some sampler takes."""
    return list(SPACINGS)


def schedulers_for(sampler: str, *, flow: bool) -> list[str]:
    """The schedulers that a sampler can be combined with."""
    choice = (FLOW_SAMPLERS if flow else SAMPLERS)[sampler]
    takes = _TAKES.get(choice.cls, _PLAIN_FLOW | _SIGMAS if flow else _SPACED | _SIGMAS)
    return [name for name in SPACINGS if name in takes]


def choose(sampler: str, scheduler: str, *, flow: bool) -> Choice:
    """The diffusers scheduler of a pair; the pair must be one that is offered."""
    choice = (FLOW_SAMPLERS if flow else SAMPLERS)[sampler]
    if choice.cls in _OWN_TIMES or (flow and scheduler in _PLAIN_FLOW):
        return choice
    if choice.cls == "DPMSolverSinglestepScheduler" and scheduler in _SPACED:
        return choice
    cls = choice.cls or "FlowMatchEulerDiscreteScheduler"
    return Choice(cls, choice.config | SPACINGS[scheduler])
