"""Pictures of unfinished samples: what the model thinks at a step, decoded by the pipeline."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor


def preview_steps(num_steps: int, num_previews: int) -> list[int]:
    """The steps (from 1) after which a preview is made, spread evenly before the last."""
    wanted = min(num_previews, num_steps - 1)
    return [round((index + 1) * num_steps / (wanted + 1)) for index in range(wanted)]


class Watched:
    """A sample's scheduler, watched: keeps the clean picture each step predicts.

    Schedulers that say it (`pred_original_sample`, or a solver's last model output) are
    believed; flow matching follows from `x0 = x - sigma * v`. `after_step` is told each
    step's new latents.
    """

    def __init__(self, scheduler: Any, after_step: Callable[[Any], None] | None = None) -> None:
        self.predicted: Tensor | None = None
        self._scheduler = scheduler
        self._step = scheduler.step
        self._after_step = after_step
        # Pipelines look at the signature to learn whether to pass a generator.
        self.__signature__ = inspect.signature(scheduler.step)
        scheduler.step = self

    def __call__(
        self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any
    ) -> Any:
        as_dict = kwargs.pop("return_dict", True)
        sigma = _sigma(self._scheduler, timestep)
        result = self._step(model_output, timestep, sample, *args, **kwargs, return_dict=True)
        self.predicted = _predicted(self._scheduler, result, model_output, sample, sigma)
        if self._after_step:
            self._after_step(result.prev_sample)
        return result if as_dict else tuple(result.values())


def decoding(pipeline: Any) -> Any:
    """A copy of a text-to-image pipeline that takes no steps: it decodes `latents` at once."""
    kind = type(pipeline)
    pipeline.__class__ = type(kind.__name__, (kind,), {"interrupt": True})
    return pipeline


def unscaled(latents: Tensor, scheduler: Any) -> Tensor:
    """Latents as the pipeline's own `latents` argument wants them: before initial scaling."""
    return latents / getattr(scheduler, "init_noise_sigma", 1.0)


def _sigma(scheduler: Any, timestep: Any) -> Any:
    if not type(scheduler).__name__.startswith("FlowMatch"):
        return None
    index = scheduler.step_index
    if index is None:
        index = scheduler.index_for_timestep(timestep)
    return scheduler.sigmas[index]


def _predicted(
    scheduler: Any, result: Any, model_output: Any, sample: Any, sigma: Any
) -> Tensor | None:
    for name in ("pred_original_sample", "denoised"):
        if isinstance(value := getattr(result, name, None), Tensor):
            return value
    if sigma is not None and isinstance(model_output, Tensor):
        predicted: Tensor = sample - sigma.to(sample) * model_output
        return predicted
    outputs = [value for value in getattr(scheduler, "model_outputs", ()) if value is not None]
    config = scheduler.config
    if outputs and (
        config.get("predict_x0") or str(config.get("algorithm_type")).endswith("++")
    ):
        last: Tensor = outputs[-1]
        return last
    return None
