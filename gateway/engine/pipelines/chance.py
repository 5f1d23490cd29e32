"""Chance that pipelines draw without a generator: each sample has its own, seeded as it is.

Some encode the pictures they are shown without theirs, and would draw anew each time; here
they draw what they would alone after `torch.manual_seed(seed)`.
"""

import functools
from typing import Any

import greenlet
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor


class Chancer(greenlet.greenlet):
    """A greenlet whose pipeline's chance is seeded."""

    seed = 0

    @functools.cached_property
    def chance(self) -> torch.Generator:
        """What draws where the pipeline names no generator."""
        return torch.Generator("cpu").manual_seed(self.seed)


_sample = DiagonalGaussianDistribution.sample


def _seeded(self: Any, generator: torch.Generator | None = None) -> Tensor:
    current = greenlet.getcurrent()
    if generator is None and isinstance(current, Chancer):
        generator = current.chance
    drawn: Tensor = _sample(self, generator)
    return drawn


DiagonalGaussianDistribution.sample = _seeded
