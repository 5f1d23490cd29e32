"""Pictures of unfinished samples: what the model predicts at a step, decoded by the pipeline.

Where latents become a picture is inside each pipeline's call, after its last step. So a
preview is a second call of the same pipeline, whose models answer from memory and whose
scheduler answers every step with the prediction: only the decoder runs.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


def preview_steps(num_steps: int, num_previews: int) -> list[int]:
    """The steps (from 1) after which a preview is made, spread evenly before the last."""
    wanted = min(num_previews, num_steps - 1)
    return [round((index + 1) * num_steps / (wanted + 1)) for index in range(wanted)]


@contextmanager
def watched(
    scheduler: Any, after_step: Callable[[Tensor | None], None], *, predicts: bool
) -> Iterator[None]:
    """Have a scheduler tell each step, with the clean latents it predicts if `predicts`.

    A scheduler of order 2 is called twice for each step.
    """
    inner = scheduler.step
    order = getattr(scheduler, "order", 1)
    num_calls = 0

    # Pipelines look at the signature to learn whether to pass a generator.
    @functools.wraps(inner)
    def step(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal num_calls
        sigma = _sigma(scheduler, timestep) if predicts else None
        result = inner(model_output, timestep, sample, *args, **kwargs)
        num_calls += 1
        if num_calls % order == 0:
            after_step(_predicted(scheduler, result, model_output, sample, sigma))
        return result

    with _stepping(scheduler, step):
        yield


@contextmanager
def answering(scheduler: Any, latents: Tensor) -> Iterator[None]:
    """Have a scheduler answer every step with given latents."""
    inner = scheduler.step

    @functools.wraps(inner)
    def step(*args: Any, **kwargs: Any) -> Any:
        result = inner(*args, **kwargs)
        if isinstance(result, tuple):
            return tuple(_instead(value, latents) for value in result)
        for name, value in vars(result).items():
            setattr(result, name, _instead(value, latents))
        return result

    with _stepping(scheduler, step):
        yield


@contextmanager
def _stepping(scheduler: Any, step: Callable[..., Any]) -> Iterator[None]:
    """Have a scheduler make its steps so until the block ends.

    For longer it would hold itself, and the whole picture with it, until garbage is looked for.
    """
    scheduler.step = step
    try:
        yield
    finally:
        del scheduler.step


def _instead(value: Any, latents: Tensor) -> Any:
    is_alike = isinstance(value, Tensor) and value.shape == latents.shape
    return latents.to(value.dtype) if is_alike else value


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
    """The clean latents a step implies; failing that, its own latents.

    Flow matching: `x0 = x - sigma * v`. Others say it beside the latents, or keep it.
    """
    latents, *said = result if isinstance(result, tuple) else vars(result).values()
    if sigma is not None and isinstance(model_output, Tensor):
        predicted: Tensor = sample - sigma.to(sample) * model_output
        return predicted
    kept = [value for value in getattr(scheduler, "model_outputs", ()) if value is not None]
    config = scheduler.config
    is_clean = config.get("predict_x0") or str(config.get("algorithm_type")).endswith("++")
    for value in (*said, *(kept[-1:] if is_clean else ()), latents):
        if isinstance(value, Tensor) and value.shape == sample.shape:
            return value
    return None
