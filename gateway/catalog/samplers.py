"""The field's names for samplers and their spacings, as diffusers' scheduler classes.

A sampler is a method; what a model predicts decides which class carries it out. So each name
has its classes, and the first that the model takes is the one. What ComfyUI calls a scheduler,
diffusers says in a scheduler's config.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.catalog.cards import EndpointCard

Runs = Callable[[str | None, Mapping[str, Any]], bool | None]
"""Whether a model takes a scheduler class, None for its own, with more laid over its config."""


class Choice(msgspec.Struct, frozen=True):
    """A diffusers scheduler class and the config it is given over the model's own.

    `cls` None keeps the model's own scheduler; `note` says what was done otherwise than asked.
    """

    cls: str | None
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    note: str | None = None


_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}
_FLOW: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


def _solver(cls: str, **config: Any) -> tuple[Choice, ...]:
    """A solver that steps diffusion models, and flow models where it is told to."""
    return Choice(cls, config), Choice(cls, config | _FLOW)


_FIRST_ORDER = (
    *_solver("DPMSolverMultistepScheduler", solver_order=1, algorithm_type="dpmsolver++"),
    Choice("DDIMScheduler"),
)
"""One deterministic step of first order is the same in all of these parametrizations."""

SAMPLERS: dict[str, tuple[Choice, ...]] = {
    "euler": (
        Choice("EulerDiscreteScheduler"),
        Choice("FlowMatchEulerDiscreteScheduler"),
        *_FIRST_ORDER,
    ),
    "euler_ancestral": (
        Choice("EulerAncestralDiscreteScheduler"),
        Choice("LTXEulerAncestralRFScheduler"),
        *_solver("DPMSolverMultistepScheduler", **_SDE, solver_order=1),
    ),
    "heun": (Choice("HeunDiscreteScheduler"), Choice("FlowMatchHeunDiscreteScheduler")),
    "dpm_2": (Choice("KDPM2DiscreteScheduler"),),
    "dpm_2_ancestral": (Choice("KDPM2AncestralDiscreteScheduler"),),
    "lms": (Choice("LMSDiscreteScheduler"),),
    "dpmpp_sde": _solver("DPMSolverSinglestepScheduler", **_SDE),
    "dpmpp_2m": _solver("DPMSolverMultistepScheduler"),
    "dpmpp_2m_sde": _solver("DPMSolverMultistepScheduler", **_SDE),
    "dpmpp_3m_sde": _solver("DPMSolverMultistepScheduler", **_SDE, solver_order=3),
    "ddpm": (Choice("DDPMScheduler"),),
    "ddim": (Choice("DDIMScheduler"), *_FIRST_ORDER),
    "lcm": (Choice("LCMScheduler"), Choice("FlowMatchLCMScheduler")),
    "ipndm": (Choice("IPNDMScheduler"),),
    "deis": _solver("DEISMultistepScheduler"),
    "sa_solver": _solver("SASolverScheduler"),
    "uni_pc": _solver("UniPCMultistepScheduler"),
    "uni_pc_bh2": _solver("UniPCMultistepScheduler", solver_type="bh2"),
    "res_multistep": (),
    "res_multistep_ancestral": (),
    "er_sde": (),
    "heunpp2": (),
    "gradient_estimation": (),
}
"""Every sampler with its classes, the best first."""

STAND_INS: dict[str, tuple[str, ...]] = {
    "euler": (),
    "ddim": ("euler",),
    "lcm": ("euler_ancestral", "euler"),
    "ddpm": ("euler_ancestral", "euler"),
    "euler_ancestral": ("lcm", "euler"),
    "heun": ("dpm_2", "dpmpp_2m", "uni_pc"),
    "dpm_2": ("heun", "dpmpp_2m", "uni_pc"),
    "dpm_2_ancestral": ("dpmpp_2m_sde", "dpmpp_2m", "uni_pc"),
    "dpmpp_sde": ("dpmpp_2m_sde", "dpmpp_2m", "uni_pc"),
    "dpmpp_2m": ("uni_pc", "heun"),
    "dpmpp_2m_sde": ("dpmpp_2m", "uni_pc", "heun"),
    "dpmpp_3m_sde": ("dpmpp_2m_sde", "dpmpp_2m", "uni_pc"),
    "lms": ("ipndm", "dpmpp_2m", "uni_pc"),
    "ipndm": ("deis", "dpmpp_2m", "uni_pc"),
    "deis": ("dpmpp_2m", "uni_pc"),
    "sa_solver": ("dpmpp_2m_sde", "dpmpp_2m", "uni_pc"),
    "uni_pc": ("dpmpp_2m", "heun"),
    "uni_pc_bh2": ("uni_pc", "dpmpp_2m", "heun"),
    "res_multistep": ("dpmpp_2m", "uni_pc", "heun"),
    "res_multistep_ancestral": ("dpmpp_2m_sde", "dpmpp_2m", "uni_pc"),
    "er_sde": ("dpmpp_2m_sde", "dpmpp_2m", "uni_pc"),
    "heunpp2": ("heun", "dpmpp_2m", "uni_pc"),
    "gradient_estimation": ("dpmpp_2m", "uni_pc", "heun"),
}
"""Samplers of the same order and kind that stand in for one that a model does not take."""

SPACINGS: dict[str, dict[str, Any]] = {
    "normal": {"timestep_spacing": "linspace"},
    "simple": {"timestep_spacing": "trailing"},
    "sgm_uniform": {"timestep_spacing": "trailing"},
    "ddim_uniform": {"timestep_spacing": "leading"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}

_FLOW_WORDS = (
    "flux", "stable-diffusion-3", "stablediffusion3", "sd3", "qwen", "z-image", "zimage", "lumina",
    "chroma", "sana",
)  # fmt: skip
_OF_FLOW = ("FlowMatch", "LTX")
_NEEDS_SCIPY = frozenset({"LMSDiscreteScheduler", "use_beta_sigmas"})

_EVEN = frozenset({"normal", "simple", "sgm_uniform"})
_EVEN_THEMSELVES = frozenset(
    {
        "DPMSolverSinglestepScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "FlowMatchLCMScheduler",
        "LCMScheduler",
        "LTXEulerAncestralRFScheduler",
    }
)
"""Classes whose own steps are even, whatever such a spacing is called."""


CLASSES = tuple(
    dict.fromkeys(str(choice.cls) for choices in SAMPLERS.values() for choice in choices)
)
"""The scheduler classes of diffusers that are offered where they run; others are taken as well."""


def classes_of(runs: Runs) -> list[str]:
    """The scheduler classes that a model can be asked for by name."""
    return [name for name in CLASSES if runs(name, {})]


def choose(sampler: str, spacing: str | None, runs: Runs) -> Choice | None:
    """How a model carries out a sampler with a spacing; None where it has nothing near.

    As asked where it can be; else the sampler with the model's own spacing; else another
    sampler of the same order and kind; else, for one of first order, the model's own
    scheduler. The choice's note says so.
    """
    for name in (sampler, *STAND_INS[sampler]):
        for choice, is_spaced in _candidates(name, spacing):
            if runs(choice.cls, choice.config):
                told = [] if name == sampler else [f"{name} stands in for {sampler}"]
                told += [] if is_spaced else [f"its own spacing stands in for {spacing}"]
                return Choice(choice.cls, choice.config, ", ".join(told) or None)
    is_near = sampler == "euler" or STAND_INS[sampler][-1] == "euler"
    return Choice(None, note=f"its own scheduler stands in for {sampler}") if is_near else None


def is_likely(card: EndpointCard, cls: str | None, config: Mapping[str, Any]) -> bool:
    """Whether a model takes a scheduler, guessed by names while its files are not here."""
    if cls is None:
        return True
    if cls not in CLASSES or _NEEDS_SCIPY & {cls, *config}:
        return False
    if not _is_flow(card):
        return not cls.startswith(_OF_FLOW) and "use_flow_sigmas" not in config
    if cls.startswith("FlowMatch"):
        return "timestep_spacing" not in config
    sigmas = {name for name in config if name.endswith("_sigmas")}
    return sigmas == {"use_flow_sigmas"}


def _is_flow(card: EndpointCard) -> bool:
    """Whether names say flow matching: of the card's scheduler, its pipeline, or its source."""
    if card.scheduler:
        return card.scheduler.cls.startswith("FlowMatch")
    named = (card.pipeline or f"{card.id} {card.source}").lower()
    return any(word in named for word in _FLOW_WORDS)


def samplers_of(runs: Runs) -> list[str]:
    """The samplers that a model can be asked for, itself or by one that stands in."""
    return [name for name in SAMPLERS if choose(name, None, runs) is not None]


def _candidates(sampler: str, spacing: str | None) -> Iterator[tuple[Choice, bool]]:
    """Every way to a sampler, those with the spacing that was asked for first."""
    for choice in SAMPLERS[sampler]:
        is_even = choice.cls in _EVEN_THEMSELVES and spacing in _EVEN
        spaced = {} if spacing is None or is_even else SPACINGS[spacing]
        yield Choice(choice.cls, choice.config | spaced), True
    for choice in SAMPLERS[sampler]:
        yield choice, False
