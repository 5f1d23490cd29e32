"""LoRA adapters in a batch: each row of a forward is changed by its own sample's adapters.

The adapters of all rows are laid side by side into one wide LoRA, and each row opens only
its own part of the rank between the two matrices:

    y += B((A x) * gains),    A [rank, in], B [out, rank], gains [rows, rank]

where a row's gains are its adapters' scales in their part, and zero elsewhere. So rows mix
adapters, scales and stacks of adapters freely, at two matrix products per layer.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gateway.job import AdapterUse

Uses = tuple[AdapterUse, ...]
Rows = Sequence[Uses]
NUM_GAINS = 256
"""Gain tables kept: one per mixture of adapters and rank, small, and costly to copy over."""


class RowsUnknownError(Exception):
    """A layer's input does not lie row by row, so that adapters cannot differ between rows."""


class LayerWeights(NamedTuple):
    """One adapter's change of one layer; `alpha / rank` is already in `up`.

    Linear: `down` [rank, in], `up` [out, rank]. Convolution: `down` [rank, in, height, width],
    `up` [out, rank, 1, 1].
    """

    down: Tensor
    up: Tensor


AdapterWeights = Mapping[tuple[str, str], LayerWeights]
"""By component (`unet`) and path of the layer inside it."""


class Adapters:
    """The adapters in memory for one pipeline's components."""

    def __init__(self, components: Mapping[str, object]) -> None:
        self._components = components
        self._layers: dict[tuple[str, str], AdapterLayer] = {}
        self._routes: dict[str, None] = {}
        self._rows = CurrentRows()

    @property
    def routes(self) -> tuple[str, ...]:
        """Routes in memory."""
        return tuple(self._routes)

    def add(self, route: str, weights: AdapterWeights) -> None:
        """Have rows that name the route changed by these weights."""
        for key, layer in weights.items():
            if key not in self._layers:
                component, path = key
                module = self._components[component]
                assert isinstance(module, nn.Module)
                self._layers[key] = AdapterLayer(module.get_submodule(path), self._rows)
            self._layers[key].add(route, layer)
        self._routes[route] = None

    def drop(self, route: str) -> None:
        """Forget an adapter; layers that no adapter changes are as they were."""
        for key, layer in list(self._layers.items()):
            layer.drop(route)
            if layer.is_empty:
                layer.close()
                del self._layers[key]
        del self._routes[route]

    def use(self, rows: Rows) -> None:
        """Say which adapters the rows of the next forward carry."""
        self._rows.set(rows)


class CurrentRows:
    """The adapters of each row of the forward in progress; empty where no row has any."""

    def __init__(self) -> None:
        self.rows: tuple[Uses, ...] = ()
        self.routes: tuple[str, ...] = ()
        self._gains: dict[object, Tensor] = {}

    @property
    def are_alike(self) -> bool:
        """Whether every row has the same adapters at the same scales."""
        return len(set(self.rows)) == 1

    def set(self, rows: Rows) -> None:
        """Start a forward."""
        self.rows = tuple(rows) if any(rows) else ()
        self.routes = tuple(sorted({use.route for uses in self.rows for use in uses}))

    def gains(self, parts: tuple[tuple[str, int], ...], like: Tensor) -> Tensor:
        """How much each row opens each part `(route, rank)`: `[rows, sum of ranks]`.

        One row where all are alike.
        """
        rows = self.rows[:1] if self.are_alike else self.rows
        key = (rows, parts, like.dtype, like.device)
        if key not in self._gains:
            if len(self._gains) >= NUM_GAINS:
                self._gains.clear()
            table = [
                [scale for route, rank in parts for scale in [_scale(uses, route)] * rank]
                for uses in rows
            ]
            self._gains[key] = torch.tensor(table, dtype=like.dtype).to(like.device)
        return self._gains[key]


class AdapterLayer:
    """A layer that adapters change, and the hook that changes it."""

    def __init__(self, layer: nn.Module, rows: CurrentRows) -> None:
        self._rows = rows
        self._weights: dict[str, LayerWeights] = {}
        self._joined: tuple[tuple[str, ...], LayerWeights] | None = None
        self._hook = layer.register_forward_hook(self)

    @property
    def is_empty(self) -> bool:
        """Whether no adapter changes this layer."""
        return not self._weights

    def add(self, route: str, weights: LayerWeights) -> None:
        """Note an adapter's weights for this layer."""
        self._weights[route] = weights
        self._joined = None

    def drop(self, route: str) -> None:
        """Forget an adapter's weights for this layer."""
        self._weights.pop(route, None)
        self._joined = None

    def close(self) -> None:
        """Give the layer back."""
        self._hook.remove()

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        routes = tuple(route for route in self._rows.routes if route in self._weights)
        if not routes:
            return output
        x = inputs[0]
        if not self._rows.are_alike and x.shape[0] != len(self._rows.rows):
            raise RowsUnknownError
        parts = tuple((route, self._weights[route].down.shape[0]) for route in routes)
        down, up = self._join(routes)
        return output + _delta(layer, x.to(down.dtype), down, up, self._rows.gains(parts, down)).to(
            output.dtype
        )

    def _join(self, routes: tuple[str, ...]) -> LayerWeights:
        """The adapters side by side; the latest mixture is kept, for the steps that follow."""
        if len(routes) == 1:
            return self._weights[routes[0]]
        if self._joined is None or self._joined[0] != routes:
            chosen = [self._weights[route] for route in routes]
            joined = LayerWeights(
                torch.cat([weights.down for weights in chosen]),
                torch.cat([weights.up for weights in chosen], dim=1),
            )
            self._joined = (routes, joined)
        return self._joined[1]


def _scale(uses: Uses, route: str) -> float:
    return sum(use.scale for use in uses if use.route == route)


def _delta(layer: nn.Module, x: Tensor, down: Tensor, up: Tensor, gains: Tensor) -> Tensor:
    """`B((A x) * gains)` for a linear layer or a convolution."""
    if isinstance(layer, nn.Conv2d):
        inner = F.conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)
        return F.conv2d(_opened(inner, gains[:, :, None, None]), up)
    inner = F.linear(x, down)
    return F.linear(_opened(inner, gains.view(len(gains), *(1,) * (x.ndim - 2), -1)), up)


def _opened(inner: Tensor, gains: Tensor) -> Tensor:
    """What overflows half precision in a row's closed parts must not become NaN there."""
    if inner.dtype == torch.float16:
        return torch.where(gains == 0, torch.zeros_like(gains), inner * gains)
    return inner * gains
