"""What is drawn: real architectures on a GPU, the tests' tiny ones where there is none."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from gateway.job import AdapterUse, Job
from tests.benchmarks import architectures
from tests.engine import tiny
from tests.engine.workbench import ARGUMENTS

TINY_EDGE = 32


class Model(NamedTuple):
    """An architecture at the size and the numbers of steps that it is measured at.

    `share` is its part of the time that is left when its turn comes.
    """

    family: str
    edge: int
    steps: tuple[int, ...]
    share: float
    guidance: float
    arguments: Mapping[str, Any] = {}

    def build(self, device: torch.device) -> Any:
        """Its pipeline, with random weights."""
        if self.edge == TINY_EDGE:
            return tiny.build(self.family).to(device)
        return architectures.build(self.family, device)

    def job(self, number: int, steps: int, adapters: tuple[AdapterUse, ...] = ()) -> Job:
        """A request for one picture; every number is a prompt of its own."""
        return Job(
            id=f"drawn-{number}", endpoint=self.family, prompt=prompt_of(number),
            num_inference_steps=steps, guidance_scale=self.guidance, width=self.edge,
            height=self.edge, seeds=(number,), adapters=adapters, arguments=dict(self.arguments),
        )


REAL = (
    Model("sdxl", 512, (1, 4), 0.45, 0.0),
    Model("flux2_klein", 1024, (4,), 0.35, 1.0),
    Model("sana_sprint", 1024, (2,), 0.4, 4.5, {"intermediate_timesteps": None}),
    Model("z_image", 1024, (8,), 1.0, 0.0),
)


def models(device: torch.device) -> tuple[Model, ...]:
    """Those that are measured on a device."""
    if device.type == "cuda":
        return REAL
    return tuple(
        model._replace(edge=TINY_EDGE, arguments=ARGUMENTS.get(model.family, {})) for model in REAL
    )


def prompt_of(number: int) -> str:
    """A prompt that no other number has, all of one length."""
    return f"a red apple on a blue background {number:06d}"
