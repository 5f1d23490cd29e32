"""LoRA adapters in a batch: each row of a forward is changed by its own sample's adapters.

The adapters of all rows are laid side by side into one wide LoRA, and each row opens only
its own part of the rank between the two matrices:

    y += B((A x) * gains),    A [rank, in], B [out, rank], gains [rows, rank]

where a row's gains are its adapters' scales in their part, and zero elsewhere. So rows mix
adapters, scales and stacks of adapters freely, at two matrix products per layer. What is no
low-rank change has its rows computed again by the layer with other weights, once for each
mixture of adapters.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gateway.engine.adapters.changes import Change
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


LayerKey = tuple[str, str]
"""A component (`unet`) and the path of a layer inside it."""


class AdapterWeights(NamedTuple):
    """What an adapter changes, by layer: what is of low rank, and what is not."""

    low_rank: Mapping[LayerKey, LayerWeights]
    changes: Mapping[LayerKey, Change] = {}


class Adapters:
    """The adapters in memory for one pipeline's components.

    `rows` are those of each row of the forward in progress.
    """

    def __init__(self, components: Mapping[str, object]) -> None:
        self._components = components
        self._layers: dict[LayerKey, AdapterLayer] = {}
        self._changed: dict[LayerKey, ChangedLayer] = {}
        self._routes: dict[str, None] = {}
        self._rows = CurrentRows()
        self.rows: Rows = ()

    @property
    def routes(self) -> tuple[str, ...]:
        """Routes in memory."""
        return tuple(self._routes)

    def add(self, route: str, weights: AdapterWeights) -> None:
        """Have rows that name the route changed by these weights."""
        for key, layer in weights.low_rank.items():
            if key not in self._layers:
                self._layers[key] = AdapterLayer(self._layer(key), self._rows)
            self._layers[key].add(route, layer)
        for key, change in weights.changes.items():
            if key not in self._changed:
                self._changed[key] = ChangedLayer(self._layer(key), self._rows)
            self._changed[key].add(route, change)
        self._routes[route] = None

    def drop(self, route: str) -> None:
        """Forget an adapter; layers that no adapter changes are as they were."""
        for layer in self._hooked:
            layer.drop(route)
            if layer.is_empty:
                layer.close()
        self._layers = {key: one for key, one in self._layers.items() if not one.is_empty}
        self._changed = {key: one for key, one in self._changed.items() if not one.is_empty}
        del self._routes[route]

    def use(self, rows: Rows) -> None:
        """Say which adapters the rows of the next forward carry; other names mean nothing here."""
        own = [tuple(use for use in uses if use.route in self._routes) for uses in rows]
        self.rows = own
        self._rows.set(own)

    def take_form(self) -> Hashable | None:
        """What the next forward's adapters have in common with those of others compiled alike.

        None where they are not for compiled forwards.
        """
        return None if self._rows.rows else ()

    def of_few(self, _num_rows: int) -> dict[int, object]:
        """What a forward of a few of the rows has in the place of objects, by their ids."""
        return {}

    def close(self) -> None:
        """Give the layers back."""
        for route in self.routes:
            self.drop(route)

    @property
    def _hooked(self) -> "list[HookedLayer[Any]]":
        return [*self._layers.values(), *self._changed.values()]

    def _hooked_in(self, components: Collection[str]) -> "list[HookedLayer[Any]]":
        """Those of some components, in the order in which their hooks come."""
        both: list[tuple[LayerKey, HookedLayer[Any]]] = []
        both += [*self._changed.items(), *self._layers.items()]
        return [layer for (component, _), layer in both if component in components]

    def _layer(self, key: LayerKey) -> nn.Module:
        component, path = key
        module = self._components[component]
        assert isinstance(module, nn.Module)
        return module.get_submodule(path)


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
                [scale for route, rank in parts for scale in [scale_of(uses, route)] * rank]
                for uses in rows
            ]
            # From pinned memory, which a GPU copies without the host's waiting for it.
            gains = torch.tensor(table, dtype=like.dtype, pin_memory=like.is_cuda)
            self._gains[key] = gains.to(like.device, non_blocking=True)
        return self._gains[key]


Own = TypeVar("Own")


class HookedLayer(ABC, Generic[Own]):
    """A layer that adapters change, what each has for it, and the hook that changes it."""

    comes_first = False
    """Whether its hook comes before the layer's others."""

    def __init__(self, layer: nn.Module, rows: CurrentRows) -> None:
        self._rows = rows
        self._weights: dict[str, Own] = {}
        self._layer = layer
        self._hook = layer.register_forward_hook(self, prepend=self.comes_first)

    def rest(self) -> None:
        """Leave the layer as it is for now."""
        self._hook.remove()

    def wake(self) -> None:
        """Change it again."""
        self._hook = self._layer.register_forward_hook(self, prepend=self.comes_first)

    @property
    def is_empty(self) -> bool:
        """Whether no adapter changes this layer."""
        return not self._weights

    def add(self, route: str, weights: Own) -> None:
        """Note what an adapter has for this layer."""
        self._weights[route] = weights

    def drop(self, route: str) -> None:
        """Forget what an adapter has for this layer."""
        self._weights.pop(route, None)

    def close(self) -> None:
        """Give the layer back."""
        self._hook.remove()

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The layer's output as the adapters of the forward's rows want it.

        Raises:
            RowsUnknownError: they differ, and the input does not lie row by row.
        """
        routes = tuple(route for route in self._rows.routes if route in self._weights)
        if not routes:
            return output
        if not self._rows.are_alike and len(inputs[0]) != len(self._rows.rows):
            raise RowsUnknownError
        return self.changed(layer, inputs[0], output, routes)

    @abstractmethod
    def changed(
        self, layer: nn.Module, x: Tensor, output: Tensor, routes: tuple[str, ...]
    ) -> Tensor:
        """An output of rows some of which carry some routes."""


class AdapterLayer(HookedLayer[LayerWeights]):
    """A layer with low-rank changes."""

    def __init__(self, layer: nn.Module, rows: CurrentRows) -> None:
        super().__init__(layer, rows)
        self._joined: tuple[tuple[str, ...], LayerWeights] | None = None

    def add(self, route: str, weights: LayerWeights) -> None:
        """Note an adapter's weights for this layer."""
        super().add(route, weights)
        self._joined = None

    def drop(self, route: str) -> None:
        """Forget an adapter's weights for this layer."""
        super().drop(route)
        self._joined = None

    def changed(
        self, layer: nn.Module, x: Tensor, output: Tensor, routes: tuple[str, ...]
    ) -> Tensor:
        """The output with each row's own part of the wide LoRA."""
        parts = tuple((route, self._weights[route].down.shape[0]) for route in routes)
        down, up = self._join(routes)
        return output + delta(layer, x.to(down.dtype), down, up, self._rows.gains(parts, down)).to(
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


class ChangedLayer(HookedLayer[Change]):
    """A layer that some rows see with other weights; its own are not touched."""

    comes_first = True

    def changed(
        self, layer: nn.Module, x: Tensor, output: Tensor, routes: tuple[str, ...]
    ) -> Tensor:
        """The output with those rows computed again."""
        rows = self._rows.rows
        if self._rows.are_alike:
            return self._answer(layer, rows[0], x)
        output = output.clone()
        for uses in dict.fromkeys(rows):
            if any(use.route in routes for use in uses):
                places = [place for place, other in enumerate(rows) if other == uses]
                output[places] = self._answer(layer, uses, x[places])
        return output

    def _answer(self, layer: nn.Module, uses: Uses, x: Tensor) -> Tensor:
        """What the layer makes of an input with the weights that some adapters give it."""
        own = {
            name: weight.data.to(x.device) for name, weight in layer.named_parameters(recurse=False)
        }
        changed = {name: weight.float() for name, weight in own.items()}
        for use in uses:
            if use.route in self._weights:
                added = self._weights[use.route].differences(own, use.scale)
                for name, difference in added.items():
                    changed[name] = changed[name] + difference if name in changed else difference
        twin = copy.copy(layer)
        like = own["weight"].dtype
        vars(twin)["_parameters"] = {name: value.to(like) for name, value in changed.items()}
        if "bias" not in changed and "bias" in layer._parameters:
            vars(twin)["_parameters"]["bias"] = None
        kind: Any = type(layer)
        answer: Tensor = kind.forward(twin, x)
        return answer


def scale_of(uses: Uses, route: str) -> float:
    return sum(use.scale for use in uses if use.route == route)


def delta(layer: nn.Module, x: Tensor, down: Tensor, up: Tensor, gains: Tensor) -> Tensor:
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
