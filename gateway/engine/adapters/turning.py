"""What adapters make of a layer's own weights: turned, stretched, or put through others.

DoRA (2402.09353), IA3 (2205.05638), OFT (2306.07280), BOFT (2311.06243), GLoRA (2306.07967),
each as the programs that write their files merge them.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gateway.catalog.heads.kinds import ALPHA

Parts = Mapping[str, Tensor]
Turn = Callable[[Parts, Parts, float, Tensor | None], dict[str, Tensor]]
"""From a change's parts, a layer's own weights, a scale, and the rows of the file's layer that
are this one's, to what is added to the layer's weights."""


def scale_by(parts: Parts, rank: int) -> float:
    """How much a product of a rank counts by its `alpha`; one of 0 is none."""
    alpha = float(parts[ALPHA]) if ALPHA in parts else 0.0
    return alpha / rank if alpha else 1.0


def stretched(magnitude: Tensor, turned: Tensor) -> Tensor:
    """A weight whose rows, or whose columns, are as long as the file says."""
    along = 1 if magnitude.ndim > 1 and len(magnitude) == 1 else 0
    others = [dim for dim in range(turned.ndim) if dim != along]
    length: Tensor = torch.linalg.vector_norm(turned, dim=others, keepdim=True)
    return turned * (magnitude.float().reshape(length.shape) / length)


def rescaled(parts: Parts, own: Parts, scale: float, _: Tensor | None) -> dict[str, Tensor]:
    """IA3: what comes in, or what goes out, multiplied one by one."""
    weight, given = own["weight"].float(), parts["ia3_l"].float()
    # One that tells its side is added to one; the other is the factor itself, bias and all.
    factor = (given.flatten() - (0 if "on_input" in parts else 1)) * scale
    if _is_on_input(parts, given, weight):
        return {"weight": weight * factor.reshape(1, -1, *(1,) * (weight.ndim - 2))}
    found = {"weight": weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))}
    if own.get("bias") is not None and "on_input" not in parts:
        found["bias"] = own["bias"].float() * factor
    return found


def _is_on_input(parts: Parts, given: Tensor, weight: Tensor) -> bool:
    if "on_input" in parts:
        return bool(parts["on_input"])
    if given.ndim == 2:
        return len(given) == 1
    return given.numel() == weight.shape[1] != weight.shape[0]


def rotated(parts: Parts, own: Parts, scale: float, rows: Tensor | None) -> dict[str, Tensor]:
    """OFT and BOFT: rows mixed within blocks, by one rotation each or by several in turn."""
    weight, turns = own["weight"].float(), _rotations(parts, scale)
    if turns.ndim == 3 and rows is not None:
        turns = turns[_blocks_of(rows, turns.shape[-1])]
    elif rows is not None:
        raise RuntimeError("it turns rows of several layers together")
    turned = _of_blocks(turns, weight) if turns.ndim == 3 else _butterfly(turns, weight)
    if "rescale" in parts:
        lengths = parts["rescale"].float()
        turned = (lengths if rows is None else lengths[rows]) * turned
    return {"weight": turned - weight}


def _rotations(parts: Parts, scale: float) -> Tensor:
    """Cayley's transform of each block, on its way from none at all."""
    blocks = parts["oft_blocks"].float()
    skew = blocks - blocks.transpose(-1, -2)
    bound = float(parts.get(ALPHA, 0.0)) * blocks.shape[-3] * blocks.shape[-1]
    if bound > 0:
        skew = skew * (bound / (skew.norm() + 1e-8)).clamp(max=1)
    same = torch.eye(skew.shape[-1], device=skew.device)
    return (same + skew) @ (same - skew).inverse() * scale + (1 - scale) * same


def _blocks_of(rows: Tensor, size: int) -> Tensor:
    """Which blocks some rows are, all of each."""
    split = rows.reshape(-1, size)
    if not torch.equal(split, split[:, :1] + torch.arange(size, device=rows.device)) or bool(
        (split[:, 0] % size).any()
    ):
        raise RuntimeError("it turns rows of several layers together")
    return split[:, 0] // size


def _of_blocks(turns: Tensor, weight: Tensor) -> Tensor:
    split = weight.reshape(*turns.shape[:2], *weight.shape[1:])
    return torch.einsum("knm,kn...->km...", turns, split).reshape(weight.shape)


def _butterfly(turns: Tensor, weight: Tensor) -> Tensor:
    """Each stage mixes rows that lie twice as far apart as the one before."""
    size, turned = turns.shape[-1], weight.flatten(1)
    for stage, blocks in enumerate(turns):
        apart, width = 2**stage * size // 2, turned.shape[1]
        pairs = turned.reshape(-1, 2, apart, width).transpose(1, 2)
        mixed = torch.bmm(blocks, pairs.reshape(-1, size, width))
        turned = mixed.reshape(-1, apart, 2, width).transpose(1, 2).reshape(-1, width)
    return turned.reshape(weight.shape)


def put_through(parts: Parts, own: Parts, scale: float, rows: Tensor | None) -> dict[str, Tensor]:
    """GLoRA: the weight after two matrices, and two more beside it; older files swap each two."""
    weight, names = own["weight"].float(), ("a1", "a2", "b1", "b2")
    first, second, up, down = (parts[name].float().flatten(1) for name in names)
    if len(first) != weight.shape[1]:
        first, second, up, down = second, first, down, up
    if "bm" in parts:
        beside = torch.einsum("mn...,om,ni->oi...", parts["bm"].float(), up, down)
    else:
        beside = (up @ down).reshape(-1, *weight.shape[1:])
    through = torch.einsum("oi...,ij->oj...", weight, first @ second)
    added = through + (beside if rows is None else beside[rows])
    return {"weight": added * scale_by(parts, len(second)) * scale}


TURNS: dict[str, Turn] = {"ia3_l": rescaled, "oft_blocks": rotated, "a1": put_through}
"""By the part that tells a kind."""
