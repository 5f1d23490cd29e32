"""Which schedulers run on a pipeline: each is tried on the pipeline's own config, without a model.

A scheduler that can be made, set and stepped may still draw rubbish: it has to understand
what the model predicts. So an oracle stands in for the model. It knows one clean latent and
says what a model that predicts it perfectly would say; a scheduler that understands ends there.
"""

import inspect
import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import msgspec
import numpy as np
import torch
from torch import Tensor

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.heads.layouts import DENOISER, section_of
from gateway.catalog.heads.predicted import prediction_of
from gateway.catalog.heads.stamps import Stamp, stamp_of
from gateway.catalog.samplers import classes_of, samplers_of
from gateway.catalog.sources.parts import places_of
from gateway.catalog.sources.weights import pipeline_class
from gateway.engine.weights.unusable import UNREADABLE

Oracle = Callable[[Tensor, Tensor], Tensor]
"""From the model's input `[1, channels, height, width]` and a timestep to its prediction."""

MOST_STEPS = 10
"""Of a trial: what goes wrong does so within few, and some classes take long over many."""
TOLERANCE = 0.1
"""The largest relative distance from the clean latent that counts as having found it."""

_TRAINED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
    "clip_sample",
)
_SHAPE = (1, 4, 8, 8)
_SHIFT = 1.0
"""`mu` of a picture of middling size, where a pipeline passes one."""


class Trial:
    """Tries schedulers on a pipeline's class and its own scheduler."""

    def __init__(self, pipeline_class: type, scheduler: Any) -> None:
        self.own = scheduler
        self._uses = _names(pipeline_class)
        drawn = torch.Generator().manual_seed(0)
        self._clean = torch.randn(_SHAPE, generator=drawn)
        self._noise = torch.randn(_SHAPE, generator=drawn)
        self._oracle = _oracle(scheduler, self._clean)

    def runs(self, name: str | None, config: Mapping[str, Any], steps: Collection[int]) -> bool:
        """Whether a scheduler draws right, at each of some numbers of steps.

        `name` is a class of diffusers, None the pipeline's own; `config` is laid over the
        own scheduler's config.
        """
        kind = scheduler_class(name) if name else type(self.own)
        if kind is None or not config.keys() <= inspect.signature(kind).parameters.keys():
            return False
        if kind is type(self.own) and not config:
            return True
        return self._oracle is not None and all(self._finds(kind, config, n) for n in steps)

    def _finds(self, kind: Any, config: Mapping[str, Any], num_inference_steps: int) -> bool:
        try:
            found = self._stepped(made(self.own, kind, config), num_inference_steps)
        except Exception:  # whatever it raises, it does not run
            return False
        distance = (found - self._clean).norm() / self._clean.norm()
        return bool(distance < TOLERANCE)  # false as well where it is not a number

    def _stepped(self, scheduler: Any, num_inference_steps: int) -> Tensor:
        """The latent after every step, called as the pipeline's class calls a scheduler."""
        assert self._oracle is not None
        scheduler.set_timesteps(**self._settings(scheduler, num_inference_steps))
        takes = inspect.signature(scheduler.step).parameters
        latents = self._noise
        if "init_noise_sigma" in self._uses:
            latents = latents * scheduler.init_noise_sigma
        extra = {"generator": torch.Generator().manual_seed(0)} if "generator" in takes else {}
        for timestep in scheduler.timesteps:
            given = latents
            if "scale_model_input" in self._uses:
                given = scheduler.scale_model_input(latents, timestep)
            predicted = self._oracle(given, timestep)
            latents = scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
        return latents

    def _settings(self, scheduler: Any, num_inference_steps: int) -> dict[str, Any]:
        """What `set_timesteps` is given, as far as the pipeline's code tells."""
        given: dict[str, Any] = {"device": "cpu", "num_inference_steps": num_inference_steps}
        config, uses = scheduler.config, self._uses
        makers = {name for name in uses if name.endswith("_sigmas")} - {"use_flow_sigmas"}
        leaves_sigmas = "use_flow_sigmas" in uses and config.get("use_flow_sigmas")
        if "sigmas" in uses and (makers or "linspace" in uses) and not leaves_sigmas:
            del given["num_inference_steps"]
            sigmas = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
            given["sigmas"] = sigmas if "linspace" in uses else sigmas.tolist()
        shifts = "use_dynamic_shifting" not in uses or config.get("use_dynamic_shifting")
        if "mu" in uses and shifts:
            given["mu"] = _SHIFT
        if "original_inference_steps" in uses:
            given["original_inference_steps"] = None
        return given


def made(own: Any, kind: Any, config: Mapping[str, Any]) -> Any:
    """A scheduler of another class on a model's own config, with more laid over it.

    What the model was trained with is passed on in full: diffusers drops values that its own
    scheduler has by default, and another class has other defaults. Latents are not clipped
    to [-1, 1] where the model's own config does not say so, which is some classes' default.
    """
    trained = {name: own.config[name] for name in _TRAINED if name in own.config}
    return kind.from_config(own.config, **({"clip_sample": False} | trained | dict(config)))


class Tried(NamedTuple):
    """A trial, and what it was made from."""

    card: EndpointCard
    config: Path
    stamp: Stamp | None
    trial: Trial


class Schedulers:
    """What each endpoint's model can be stepped by, found out when first asked.

    Nothing but the config files of its pipeline is read, anew when they or the card have
    changed; safe from any thread.
    """

    def __init__(self, cards: Callable[[], Mapping[str, EndpointCard]]) -> None:
        self._cards = cards
        self._tried: dict[str, Tried] = {}
        self._found: dict[tuple[str, str | None, bytes], bool] = {}
        self._lock = threading.Lock()

    def runs(self, endpoint: str, name: str | None, config: Mapping[str, Any]) -> bool | None:
        """Whether a scheduler runs; None while that cannot be known."""
        if (tried := self._trial(endpoint)) is None:
            return None
        key = (endpoint, name, msgspec.json.encode(config, order="sorted"))
        if key not in self._found:
            steps = tried.card.steps
            numbers = {min(n, MOST_STEPS) for n in (steps.min, steps.default, steps.max)}
            self._found[key] = tried.trial.runs(name, config, numbers)
        return self._found[key]

    def warm(self) -> None:
        """Find out what is offered, so that nobody has to wait for it."""
        for endpoint in self._cards():
            runs = partial(self.runs, endpoint)
            samplers_of(runs)
            classes_of(runs)

    def _trial(self, endpoint: str) -> Tried | None:
        with self._lock:
            card, tried = self._cards().get(endpoint), self._tried.get(endpoint)
            if card is None:
                return None
            if tried is None or tried.card != card or tried.stamp != stamp_of(tried.config):
                self._tried.pop(endpoint, None)
                self._found = {key: runs for key, runs in self._found.items() if key[0] != endpoint}
                with suppress(*UNREADABLE):
                    if (new := _tried(card)) is not None:
                        self._tried[endpoint] = new
            return self._tried.get(endpoint)


def _tried(card: EndpointCard) -> Tried | None:
    """A trial on what the files of an endpoint say; None where they do not say it."""
    place = next((each for each in places_of(card) if each.name == "scheduler"), None)
    if place is None or place.folder is None:
        return None
    pipeline: Any = getattr(diffusers, pipeline_class(card) or "", None)
    file = place.folder / "scheduler_config.json"
    stamp = stamp_of(file)
    if pipeline is None or not file.is_file():
        return None
    config = json.loads(file.read_bytes())  # has infinities, which msgspec refuses
    if (kind := scheduler_class(place.given.cls or str(config.get("_class_name")))) is None:
        return None
    own = kind.from_config(config)
    return Tried(card, file, stamp, Trial(pipeline, card_scheduler(card, own)))


def card_scheduler(card: EndpointCard, own: Any) -> Any:
    """The scheduler that an endpoint's card wants, on the pipeline's own config.

    What its file of weights says of its prediction goes before what it shares its layout with.

    Raises:
        CardError: diffusers has no such class.
    """
    if told := _predicted(card):
        own = made(own, type(own), told)
    if card.scheduler is None:
        return own
    kind = scheduler_class(card.scheduler.cls)
    if kind is None:
        raise CardError(f"key 'scheduler': no class '{card.scheduler.cls}'", card.path)
    return made(own, kind, card.scheduler.config)


def _predicted(card: EndpointCard) -> dict[str, Any]:
    """What the file says that an endpoint's denoiser is read from, if it is one."""
    denoiser = (each for each in places_of(card) if section_of(each.name, each.cls) == DENOISER)
    return next((prediction_of(place.file) for place in denoiser if place.file), {})


def scheduler_class(name: str) -> Any:
    """A scheduler class of diffusers, None where there is none of that name."""
    if not name.endswith("Scheduler"):
        return None
    kind = getattr(diffusers, name, None)
    is_one = isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)
    return kind if is_one else None


def _names(pipeline_class: Any) -> frozenset[str]:
    """Every name and keyword that a pipeline's call uses, and its preparing of latents."""
    found: set[str] = set()
    for name in ("__call__", "prepare_latents"):
        if (function := getattr(pipeline_class, name, None)) is not None:
            code = inspect.unwrap(function).__code__
            found |= {*code.co_names, *_texts(code.co_consts)}
    return frozenset(found)


def _texts(constants: Iterable[Any]) -> Iterator[str]:
    """Every short text among a function's constants: keywords stand there in tuples."""
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from _texts(constant)


def _oracle(scheduler: Any, clean: Tensor) -> Oracle | None:
    """The perfect model for what a scheduler's config says is predicted; None where unknown."""
    config = scheduler.config
    kind = config.get("prediction_type", "epsilon")
    if kind == "flow_prediction" or type(scheduler).__name__.startswith("FlowMatch"):
        length = config.get("num_train_timesteps", 1000)
        return lambda given, timestep: (given - clean) / (timestep / length)
    if getattr(scheduler, "alphas_cumprod", None) is None:
        return None
    alphas = scheduler.alphas_cumprod.double()
    levels = (((1 - alphas) / alphas) ** 0.5).log()

    def predicted(given: Any, timestep: Any) -> Any:
        at = np.interp(float(timestep), np.arange(len(levels)), levels.numpy())
        sigma = float(np.exp(at))
        signal = (1 + sigma**2) ** -0.5
        noise = sigma * signal
        epsilon = (given - signal * clean) / noise
        if kind == "sample":
            return clean
        if kind == "v_prediction":
            epsilon = signal * epsilon - noise * clean
        return epsilon

    return predicted if kind in ("epsilon", "sample", "v_prediction") else None
