"""What adapters of every kind do to a layer, as differences of its weights.

The parts of a change come as files have them (`lokr_w1`, `hada_w1_a`, `dora_scale`, ...); the
papers and the programs that write them agree on what they mean: LoHa (FedPara, 2108.06098),
LoKr (2309.14859), DoRA (2402.09353), IA3 (2205.05638), OFT (2306.07280).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from gateway.catalog.kinds import ALPHA, DOWN, MAGNITUDE, MID, UP

Parts = Mapping[str, Tensor]


class Change:
    """One adapter's change of one layer, of whatever kind.

    `rows` are those of the file's layer that are this one's, where the file has several fused;
    `scaling` multiplies a difference where the file's own `alpha` does not tell it.
    """

    def __init__(
        self, parts: Parts, rows: Tensor | None = None, scaling: float | None = None
    ) -> None:
        self.parts = {name: self._own(name, part, rows) for name, part in parts.items()}
        self._rows = rows
        self._scaling = scaling

    @property
    def size_bytes(self) -> int:
        """Bytes of its parts."""
        return sum(part.numel() * part.element_size() for part in self.parts.values())

    @property
    def is_additive(self) -> bool:
        """Whether it is the same whatever the layer's own weights are."""
        return not {MAGNITUDE, "ia3_l", "oft_blocks"} & self.parts.keys()

    def to(self, device: torch.device) -> "Change":
        """The same on a device, for good; its parts keep their precision."""
        self.parts = {name: part.to(device) for name, part in self.parts.items()}
        self._rows = None if self._rows is None else self._rows.to(device)
        return self

    def differences(self, own: Parts, scale: float) -> dict[str, Tensor]:
        """What is added to a layer's `weight` and `bias` at a scale, in float32.

        Raises:
            RuntimeError: it is no change of such a layer.
        """
        found: dict[str, Tensor] = {}
        weight = own["weight"].float()
        difference = self._difference()
        if difference is not None:
            found["weight"] = difference.reshape(weight.shape) * scale
        if "w_norm" in self.parts:
            found["weight"] = self.parts["w_norm"].float() * scale
        bias = self.parts.get("diff_b", self.parts.get("b_norm"))
        if bias is not None:
            found["bias"] = bias.float() * scale
        if MAGNITUDE in self.parts:
            turned = weight + found["weight"]
            found["weight"] = self._stretch(turned) * turned - weight
        if "ia3_l" in self.parts:
            found |= self._rescaled(own, weight, scale)
        if "oft_blocks" in self.parts:
            found["weight"] = self._rotated(weight, scale) - weight
        return found

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """The same as two matrices, where that is exact and no more work than the whole.

        The first is [rank, ...], of what a layer takes, the second [out, rank].
        """
        if not self.is_additive:
            return None
        factors = self._factors()
        if factors is None:
            return None
        down, up = factors
        up = up if self._rows is None else up[self._rows]
        rank, width, height = len(down), down[0].numel(), len(up)
        if rank * (width + height) > width * height and UP not in self.parts:
            return None
        return down, up

    def _own(self, name: str, part: Tensor, rows: Tensor | None) -> Tensor:
        """A part without the rows that are others', where it lies by rows."""
        by_rows = name in ("diff_b", "b_norm") or (
            name in (MAGNITUDE, "ia3_l") and part.shape[0] != 1
        )
        return part if rows is None or not by_rows else part[rows]

    def _difference(self) -> Tensor | None:
        """`[out, ...]` of all kinds that do not ask for the layer's own weights."""
        p = {name: part.float() for name, part in self.parts.items()}
        if "diff" in p:
            whole = p["diff"]
        elif UP in p and MID in p:
            up, down = p[UP].flatten(1), p[DOWN].flatten(1)
            whole = torch.einsum("mn...,om,ni->oi...", p[MID], up, down) * self._scale(len(down))
        elif UP in p:
            whole = p[UP].flatten(1) @ p[DOWN].flatten(1) * self._scale(len(p[DOWN]))
        elif "hada_t1" in p:
            halves = (
                torch.einsum("ij...,jr,ip->pr...", p[f"hada_t{n}"], p[f"hada_w{n}_b"],
                             p[f"hada_w{n}_a"])
                for n in (1, 2)
            )  # fmt: skip
            whole = torch.mul(*halves) * self._scale(len(p["hada_w1_b"]))
        elif "hada_w1_a" in p:
            first, second = (p[f"hada_w{n}_a"] @ p[f"hada_w{n}_b"] for n in (1, 2))
            whole = first * second * self._scale(len(p["hada_w1_b"]))
        elif {"lokr_w1", "lokr_w1_a"} & p.keys():
            whole = self._kronecker(p)
        else:
            return None
        return whole if self._rows is None else whole[self._rows]

    def _kronecker(self, p: dict[str, Tensor]) -> Tensor:
        first = p["lokr_w1"] if "lokr_w1" in p else p["lokr_w1_a"] @ p["lokr_w1_b"]
        if "lokr_w2" in p:
            second = p["lokr_w2"]
        elif "lokr_t2" in p:
            second = torch.einsum(
                "ij...,ip,jr->pr...", p["lokr_t2"], p["lokr_w2_a"], p["lokr_w2_b"]
            )
        else:
            second = p["lokr_w2_a"] @ p["lokr_w2_b"].flatten(1)
            second = second.reshape(len(second), *p["lokr_w2_b"].shape[1:])
        first = first.reshape(*first.shape, *(1,) * (second.ndim - 2))
        whole: Tensor = torch.kron(first, second.contiguous()) * self._scale_of_kronecker()
        return whole

    def _scale_of_kronecker(self) -> float:
        """Where both factors are whole there is no rank, and no `alpha` that counts."""
        if "lokr_w2_b" in self.parts:
            return self._scale(len(self.parts["lokr_w2_b"]))
        if "lokr_w1_b" in self.parts:
            return self._scale(len(self.parts["lokr_w1_b"]))
        return 1.0 if self._scaling is None else self._scaling

    def _factors(self) -> tuple[Tensor, Tensor] | None:
        p = {name: part.float() for name, part in self.parts.items()}
        if UP in p and MID not in p:
            return p[DOWN], p[UP].flatten(1) * self._scale(len(p[DOWN]))
        if "hada_w1_a" in p and "hada_t1" not in p:
            down = torch.einsum("ri,si->rsi", p["hada_w1_b"], p["hada_w2_b"]).flatten(0, 1)
            up = torch.einsum("or,os->ors", p["hada_w1_a"], p["hada_w2_a"]).flatten(1)
            return down, up * self._scale(len(p["hada_w1_b"]))
        if "lokr_w2_a" in p and "lokr_t2" not in p and p["lokr_w2_b"].ndim == 2:
            first = p["lokr_w1"] if "lokr_w1" in p else p["lokr_w1_a"] @ p["lokr_w1_b"]
            same = torch.eye(first.shape[1], device=first.device)
            up = torch.kron(first, p["lokr_w2_a"]) * self._scale_of_kronecker()
            return torch.kron(same, p["lokr_w2_b"]), up
        return None

    def _scale(self, rank: int) -> float:
        if self._scaling is not None:
            return self._scaling
        alpha = float(self.parts[ALPHA]) if ALPHA in self.parts else 0.0
        return alpha / rank if alpha else 1.0

    def _stretch(self, turned: Tensor) -> Tensor:
        """What makes a weight's rows, or its columns, as long as the file says."""
        magnitude = self.parts[MAGNITUDE].float()
        along = 1 if magnitude.ndim > 1 and len(magnitude) == 1 else 0
        others = [dim for dim in range(turned.ndim) if dim != along]
        length = turned.norm(dim=others, keepdim=True)
        stretch: Tensor = magnitude.reshape(length.shape) / length
        return stretch

    def _rescaled(self, own: Parts, weight: Tensor, scale: float) -> dict[str, Tensor]:
        given = self.parts["ia3_l"].float()
        # One that tells its side is added to one; the other is the factor itself, bias and all.
        factor = (given.flatten() - (0 if "on_input" in self.parts else 1)) * scale
        if self._is_on_input(given, weight):
            return {"weight": weight * factor.reshape(1, -1, *(1,) * (weight.ndim - 2))}
        found = {"weight": weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))}
        if own.get("bias") is not None and "on_input" not in self.parts:
            found["bias"] = own["bias"].float() * factor
        return found

    def _is_on_input(self, given: Tensor, weight: Tensor) -> bool:
        if "on_input" in self.parts:
            return bool(self.parts["on_input"])
        if given.ndim == 2:
            return len(given) == 1
        return given.numel() == weight.shape[1] != weight.shape[0]

    def _rotated(self, weight: Tensor, scale: float) -> Tensor:
        blocks = self.parts["oft_blocks"].float()
        skew = blocks - blocks.transpose(1, 2)
        bound, length = float(self.parts.get(ALPHA, 0.0)), float(skew.norm()) + 1e-8
        if 0 < bound < length:
            skew = skew * (bound / length)
        same = torch.eye(skew.shape[-1], device=skew.device)
        turn = (same + skew) @ (same - skew).inverse() * scale + (1 - scale) * same
        split = weight.reshape(*blocks.shape[:2], *weight.shape[1:])
        turned = torch.einsum("knm,kn...->km...", turn, split).reshape(weight.shape)
        return self.parts["rescale"].float() * turned if "rescale" in self.parts else turned
