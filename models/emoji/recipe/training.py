"""What every stage shares: a time budget, averaged weights, checkpoints, a log.

Started by torchrun, several processes train copies of a model, each on lessons of its own,
and average their weights every few steps (local SGD, Stich 2018, arXiv:1805.09767): a
process per core, or per GPU, keeps all of them busy with little to say to each other.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MEETING = 25
"""Steps between two averagings over processes."""
AVERAGED = 4
"""Steps between two averagings over time."""


def begin() -> None:
    """Seed this process, and join the others if there are any."""
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo")
    torch.manual_seed(_rank())
    random.seed(_rank())


class Average:
    """Exponential moving average of weights, in float32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {k: v.detach().float().clone() for k, v in model.state_dict().items()}
        self.num_updates = 0

    def update(self, model: nn.Module) -> None:
        """Move towards the model; the first updates move faster."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        state = model.state_dict()
        names = list(self.weights)
        torch._foreach_lerp_(
            [self.weights[name] for name in names],
            [state[name].detach().float() for name in names],
            1 - decay,
        )


def train(  # noqa: PLR0913  a stage is what these name
    name: str,
    model: nn.Module,
    losses: Callable[[float], Tensor],
    *,
    work: Path,
    minutes: float,
    learning_rate: float,
    decay: float = 0.999,
    samples: Callable[[dict[str, Tensor], int], None] | None = None,
) -> dict[str, Tensor]:
    """Train for a time budget, resuming from `work/<name>.pt`; return the averaged weights.

    Without a checkpoint, training starts from the model as it is given. The first process
    alone writes.

    `losses(progress)` gives one step's loss; progress runs from 0 to 1 over the budget.
    The learning rate warms up, holds, and falls to a twentieth over the last half.
    """
    checkpoint = work / f"{name}.pt"
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=learning_rate, weight_decay=1e-4, betas=(0.9, 0.98), fused=True
    )
    average, step = Average(model, decay**AVERAGED), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.weights, average.num_updates = state["average"], state["num_updates"]
        step = state["step"]
    model.train()
    mean: float | None = None
    saved = time.monotonic()
    for progress in _budget(minutes):
        step += 1
        warmth = min(1.0, step / 200) * (1.0 if progress < 0.5 else 1.05 - 2 * (progress - 0.5))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * max(0.05, min(1.0, warmth))
        loss = losses(progress)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % AVERAGED == 0:
            average.update(model)
        if step % MEETING == 0:
            _meet(model)
        mean = loss.item() if mean is None else 0.99 * mean + 0.01 * loss.item()
        if step % 50 == 0:
            log(work, stage=name, step=step, loss=round(mean, 5), progress=round(progress, 4))
        if is_first() and time.monotonic() - saved > 150:
            _save(checkpoint, model, optimizer, average, step)
            saved = time.monotonic()
            if samples:
                samples(average.weights, step)
    if is_first():
        _save(checkpoint, model, optimizer, average, step)
        if samples:
            samples(average.weights, step)
    return average.weights


def log(work: Path, **facts: object) -> None:
    """Append a line to the log and print it; the first process does."""
    if not is_first():
        return
    line = json.dumps({"time": time.strftime("%H:%M:%S"), **facts})
    with (work / "log.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as safetensors, all at once or not at all."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, partial)
    partial.replace(path)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read weights written by `save_weights`."""
    return load_file(path)


def restore(model: nn.Module, trained: Path, exported: Path) -> None:
    """Take the weights of an earlier stage: as trained in the work folder, else as exported."""
    if trained.exists():
        model.load_state_dict(load_weights(trained))
    else:
        start_from(model, exported)


def start_from(model: nn.Module, exported: Path) -> None:
    """Begin with the weights that were exported before, where there are any that fit."""
    path = exported / "diffusion_pytorch_model.safetensors"
    if path.exists():
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        if _shapes(weights) == _shapes(model.state_dict()):
            model.load_state_dict(weights)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _budget(minutes: float) -> Iterator[float]:
    """Progress from 0 to 1; the first process tells all of them when it is over.

    Time counts from the end of the first step, since that prepares what later ones use.
    """
    yield 0.0
    began, step = time.monotonic(), 0
    while True:
        spent = (time.monotonic() - began) / 60 / minutes
        if step % MEETING == 0 and _first_says(spent >= 1):
            return
        yield min(spent, 1.0)
        step += 1


def is_first() -> bool:
    """Whether this process is the one that writes files."""
    return _rank() == 0


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _first_says(over: bool) -> bool:
    if not dist.is_initialized():
        return over
    said = torch.tensor(int(over))
    dist.broadcast(said, 0)
    return bool(said)


@torch.no_grad()
def _meet(model: nn.Module) -> None:
    """Give all processes the mean of their weights."""
    if not dist.is_initialized():
        return
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    flat = torch.cat([parameter.reshape(-1) for parameter in trained]).cpu()
    dist.all_reduce(flat)
    mean = (flat / dist.get_world_size()).to(trained[0].device)
    for parameter, part in zip(trained, mean.split([p.numel() for p in trained]), strict=True):
        parameter.copy_(part.reshape(parameter.shape))


def _save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average, step: int
) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.weights,
            "num_updates": average.num_updates,
            "step": step,
        },
        partial,
    )
    partial.replace(path)
    save_weights(path.with_suffix(".safetensors"), average.weights)
