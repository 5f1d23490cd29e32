"""What adapters of every kind do to a layer, as differences of its weights.

The parts of a change come as files have them (`lokr_w1`, `hada_w1_a`, `dora_scale`, ...); the
papers and the programs that write them agree on what they mean: LoHa (FedPara, 2108.06098),
LoKr (2309.14859), DoRA (2402.09353); `turning.py` has those that ask for the layer's weights.
"""

import torch
from torch import Tensor

from gateway.catalog.heads.kinds import DOWN, MAGNITUDE, MID, UP
from gateway.engine.adapters.turning import TURNS, Parts, scale_by, stretched


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
        return not {MAGNITUDE, *TURNS} & self.parts.keys()

    def to(self, device: torch.device) -> "Change":
        """The same on a device, for good; its parts keep their precision, and single numbers
        stay where they can be asked for without waiting for a device."""
        self.parts = {
            name: part.to(device) if part.ndim else part for name, part in self.parts.items()
        }
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
            found["weight"] = stretched(self.parts[MAGNITUDE], turned) - weight
        for mark, turn in TURNS.items():
            if mark in self.parts:
                found |= turn(self.parts, own, scale, self._rows)
        return found | self._replaced(own, scale)

    def _replaced(self, own: Parts, scale: float) -> dict[str, Tensor]:
        """Towards the weights that the file has in the place of a layer's own."""
        given = {name.removeprefix("set_"): part for name, part in self.parts.items()
                 if name.startswith("set_")}  # fmt: skip
        return {
            name: (part.float() - (own[name].float() if name in own else 0)) * scale
            for name, part in given.items()
        }

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
        return scale_by(self.parts, rank) if self._scaling is None else self._scaling
