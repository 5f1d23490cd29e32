"""Adapters in compiled and recorded forwards: weights in slots that stay where they are.

Each layer that adapters change has room for so many ranks, at one address; an adapter is
copied into a free part of it when it is first used, and rows open their parts by a table of
gains that is written before each forward. So adapters come and go without a compilation.
Slots are twice as wide when ranks no longer fit, and what a forward is given of them is a
power of two.
"""

import functools
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gateway.engine.adapters.adapters import (
    Adapters,
    AdapterWeights,
    LayerKey,
    LayerWeights,
    Rows,
    RowsUnknownError,
    Uses,
    delta,
    scale_of,
)

LEAST_RANKS = 16
MOST_RANKS = 512
"""Wider mixtures of adapters are not for compiled forwards."""

DOWN, UP, SLOTS = "_slot_down", "_slot_up", "_slots"


class Slots:
    """Which adapter lies where, for all layers of a pipeline, and the gains of the rows.

    `width` is how many ranks the forward in progress has, 0 where no row has any adapter.
    """

    def __init__(self) -> None:
        self.width = 0
        self.is_alike = True
        self.gains: Tensor | None = None
        self.generation = 0
        self._capacity = LEAST_RANKS
        self._adapters: dict[str, Mapping[LayerKey, LayerWeights]] = {}
        self._layers: dict[LayerKey, Any] = {}
        self._places: OrderedDict[str, range] = OrderedDict()
        self._table: Tensor | None = None
        self._tables: dict[Hashable, Tensor] = {}

    def add(
        self, route: str, weights: Mapping[LayerKey, LayerWeights], layers: Mapping[LayerKey, Any]
    ) -> None:
        """Have room for an adapter in its layers; one that forwards itself has none."""
        if any("forward" in vars(layer) for layer in layers.values()):
            return
        for key in weights.keys() - self._layers.keys():
            self._open(layers[key], weights[key])
            self._layers[key] = layers[key]
        self._adapters[route] = weights

    def drop(self, route: str) -> None:
        """Forget an adapter; its part is free."""
        self._adapters.pop(route, None)
        self._places.pop(route, None)

    def take(self, rows: Sequence[Uses]) -> Hashable | None:
        """Ready the slots for a forward: what it shares with others; None where they cannot."""
        routes = list(dict.fromkeys(use.route for uses in rows for use in uses))
        if not routes:
            return (0, len(self._layers), 0)
        if not all(route in self._adapters for route in routes):
            return None
        for route in routes:
            if route in self._places:
                self._places.move_to_end(route)
        if not all(route in self._places or self._place(route, routes) for route in routes):
            return None
        width = _power(max(self._places[route].stop for route in routes))
        self._write(tuple(rows), routes, width)
        self.width, self.is_alike = width, len(set(rows)) == 1
        return (width, len(self._layers), self.generation)

    def rest(self) -> None:
        """The forward is over."""
        self.width = 0

    def close(self) -> None:
        """Give the layers back."""
        for layer in self._layers.values():
            layer.__class__ = type(layer).__base__
            del layer._buffers[DOWN], layer._buffers[UP], vars(layer)[SLOTS]
        self._layers.clear()

    def of_few(self, num_rows: int) -> "Slots":
        """The slots of a forward of a few of the rows, which later ones do not change."""
        few = Slots()
        few.width, few.is_alike = self.width, self.is_alike
        if self.width and self.gains is not None:
            rows = [min(row, len(self.gains) - 1) for row in range(num_rows)]
            few.gains = self._like(self.gains[rows])
        return few

    def changed(self, layer: Any, x: Tensor, output: Tensor) -> Tensor:
        """A layer's output as the adapters of the rows want it.

        Raises:
            RowsUnknownError: they differ, and the input does not lie row by row.
        """
        gains = self.gains
        assert gains is not None
        if x.shape[0] != gains.shape[0]:
            if not self.is_alike:
                raise RowsUnknownError
            gains = gains[:1]
        down, up = getattr(layer, DOWN)[: self.width], getattr(layer, UP)[:, : self.width]
        return output + delta(layer, x.to(down.dtype), down, up, gains.to(down.dtype)).to(
            output.dtype
        )

    def _open(self, layer: Any, like: LayerWeights) -> None:
        down, up = like
        layer.register_buffer(
            DOWN, down.new_zeros(self._capacity, *down.shape[1:]), persistent=False
        )
        layer.register_buffer(
            UP, up.new_zeros(up.shape[0], self._capacity, *up.shape[2:]), persistent=False
        )
        vars(layer)[SLOTS] = self
        kind: Any = type(layer)
        layer.__class__ = _slotted(kind)

    def _place(self, route: str, kept: Sequence[str]) -> bool:
        """Copy an adapter's weights into a part of the slots that nobody of the forward needs."""
        own = self._adapters[route]
        rank = max((weights.down.shape[0] for weights in own.values()), default=0)
        while (start := self._gap(rank)) is None:
            idle = next((other for other in self._places if other not in kept), None)
            if idle is not None:
                del self._places[idle]
            elif not self._widen():
                return False
        self._places[route] = range(start, start + rank)
        for key, layer in self._layers.items():
            self._copy(layer, own.get(key), self._places[route])
        return True

    def _gap(self, rank: int) -> int | None:
        """The first free part of so many ranks."""
        start = 0
        for taken in sorted(self._places.values(), key=lambda one: one.start):
            if taken.start - start >= rank:
                break
            start = taken.stop
        return start if start + rank <= self._capacity else None

    def _widen(self) -> bool:
        if self._capacity * 2 > MOST_RANKS:
            return False
        added, self._capacity = self._capacity, self._capacity * 2
        self.generation += 1
        for layer in self._layers.values():
            for name, dim in ((DOWN, 0), (UP, 1)):
                old = layer._buffers[name]
                more = list(old.shape)
                more[dim] = added
                layer._buffers[name] = torch.cat([old, old.new_zeros(more)], dim)
        return True

    def _copy(self, layer: Any, weights: LayerWeights | None, place: range) -> None:
        down = layer._buffers[DOWN][place.start : place.stop]
        up = layer._buffers[UP][:, place.start : place.stop]
        down.zero_()
        up.zero_()
        if weights is not None:
            rank = weights.down.shape[0]
            down[:rank].copy_(weights.down)
            up[:, :rank].copy_(weights.up)

    def _write(self, rows: tuple[Uses, ...], routes: Sequence[str], width: int) -> None:
        """Write how far each row opens each rank."""
        key = (rows, tuple((route, self._places[route]) for route in routes), width)
        device = self._device()
        if self._table is None or len(rows) > self._table.shape[0]:
            self._table = torch.zeros(_power(len(rows)), MOST_RANKS, device=device)
            self.generation += 1
        if key not in self._tables:
            if len(self._tables) >= LEAST_RANKS:
                self._tables.clear()
            self._tables[key] = self._gains(rows, routes, width).to(device, non_blocking=True)
        self.gains = self._table[: len(rows), :width]
        self.gains.copy_(self._tables[key])

    def _device(self) -> torch.device:
        layer = next(iter(self._layers.values()), None)
        device: torch.device = layer._buffers[DOWN].device if layer else torch.device("cpu")
        return device

    def _gains(self, rows: Sequence[Uses], routes: Sequence[str], width: int) -> Tensor:
        gains = torch.zeros(len(rows), width, pin_memory=torch.cuda.is_available())
        for row, uses in enumerate(rows):
            for route in routes:
                place = self._places[route]
                gains[row, place.start : place.stop] = scale_of(uses, route)
        return gains

    @staticmethod
    def _like(gains: Tensor) -> Tensor:
        """A table of its own, laid out in memory as this one: what is compiled for it is looked
        up by that too."""
        own = torch.zeros(gains.shape[0], MOST_RANKS, device=gains.device)
        return own[:, : gains.shape[1]].copy_(gains)


class SlottedAdapters(Adapters):
    """Adapters of an endpoint whose forwards are compiled or recorded.

    What is in no such component, or has no room in the slots, is done as it is elsewhere.
    """

    def __init__(self, components: Mapping[str, object], compiled: Collection[str]) -> None:
        super().__init__(components)
        self._compiled = compiled
        self._are_resting = False
        self._slots = Slots()

    def add(self, route: str, weights: AdapterWeights) -> None:
        """Have rows that name the route changed by these weights."""
        super().add(route, weights)
        self._are_resting = False
        if not any(key[0] in self._compiled for key in weights.changes):
            mine = {key: own for key, own in weights.low_rank.items() if key[0] in self._compiled}
            self._slots.add(route, mine, {key: self._layer(key) for key in mine})

    def drop(self, route: str) -> None:
        """Forget an adapter; layers keep their slots for the next."""
        super().drop(route)
        self._slots.drop(route)

    def use(self, rows: Rows) -> None:
        """Say which adapters the rows of the next forward carry."""
        super().use(rows)
        self._slots.rest()

    def take_form(self) -> Hashable | None:
        """Have the next forward take its adapters from slots, where it can."""
        form = self._slots.take(self._rows.rows)
        if form is not None:
            self._rows.set(())
        self._have_rest(rest=form is not None)
        return form

    def _have_rest(self, *, rest: bool) -> None:
        """Take hooks out of what is compiled, or put them back: code with hooks is other code."""
        if rest == self._are_resting:
            return
        for hooked in self._hooked_in(self._compiled):
            hooked.rest()
            if not rest:
                hooked.wake()
        self._are_resting = rest

    def of_few(self, num_rows: int) -> dict[int, object]:
        """The slots of a forward of a few of the rows."""
        return {id(self._slots): self._slots.of_few(num_rows)}

    def close(self) -> None:
        """Give the layers back."""
        super().close()
        self._slots.close()


@functools.cache
def _slotted(kind: Hashable) -> type:
    """A layer's class that looks into its slots."""
    assert isinstance(kind, type)

    def forward(self: Any, x: Tensor) -> Tensor:
        output: Tensor = kind.forward(self, x)  # type: ignore[attr-defined]
        slots: Slots = self._slots
        return slots.changed(self, x, output) if slots.width else output

    return type(kind.__name__, (kind,), {"forward": forward})


def _power(number: int) -> int:
    return max(LEAST_RANKS, 1 << (number - 1).bit_length())
