"""LoRA adapters in a batch: each row of a forward is changed by its own sample's adapters.

diffusers and PEFT read the files and build the layers; PEFT's layers are then kept
disabled, so that they compute the base weights, and a hook adds to each row

    y += sum over its adapters of  scale * alpha / rank * B(A(x)).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gateway.catalog import AdapterCard, CardError
from gateway.engine.loading import LoadedPipeline, modules_of
from gateway.engine.parking import unparked
from gateway.job import AdapterUse

Rows = Sequence[tuple[AdapterUse, ...]]


class Adapters:
    """The adapters loaded into one pipeline, least recently used first."""

    def __init__(self, loaded: LoadedPipeline) -> None:
        self._loaded = loaded
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._layers: list[AdapterLayer] = []
        self._rows = CurrentRows()

    @property
    def routes(self) -> tuple[str, ...]:
        """Routes in memory."""
        return tuple(self._sizes)

    @property
    def size_bytes(self) -> int:
        """Bytes of all loaded adapters."""
        return sum(self._sizes.values())

    def touch(self, route: str) -> None:
        """Note that a route was just used."""
        self._sizes.move_to_end(route)

    def add(self, card: AdapterCard, weights: dict[str, Tensor]) -> None:
        """Build an adapter's layers from its weights.

        Raises:
            CardError: the weights do not fit this pipeline.
        """
        pipeline = self._loaded.base
        with unparked(self._loaded.entries):
            try:
                pipeline.load_lora_weights(dict(weights), adapter_name=card.route)
            except Exception as error:
                raise CardError(f"{card.path}: not a LoRA for '{card.endpoint}': {error}") from error
            self._hook_layers()
        self._sizes[card.route] = sum(
            tensor.numel() * tensor.element_size() for tensor in weights.values()
        )

    def evict_to(self, budget_bytes: float, in_use: set[str]) -> list[str]:
        """Drop the least recently used adapters until the budget is kept; return their routes."""
        gone = []
        for route in list(self._sizes):
            if self.size_bytes <= budget_bytes:
                break
            if route not in in_use:
                with unparked(self._loaded.entries):
                    self._loaded.base.delete_adapters(route)
                del self._sizes[route]
                gone.append(route)
        return gone

    def use(self, rows: Rows) -> None:
        """Say which adapters the rows of the next forward carry."""
        self._rows.set(rows)

    def _hook_layers(self) -> None:
        hooked = {layer.layer for layer in self._layers}
        for module in modules_of(self._loaded.base.components):
            for layer in module.modules():
                if isinstance(layer, BaseTunerLayer):
                    layer.enable_adapters(enabled=False)
                    if layer not in hooked:
                        self._layers.append(AdapterLayer(layer, self._rows))


class CurrentRows:
    """The adapters of each row of the forward in progress; empty where no row has any."""

    def __init__(self) -> None:
        self.rows: Rows = ()
        self._indices: dict[tuple[str, int, torch.device], tuple[Tensor, Tensor]] = {}

    def set(self, rows: Rows) -> None:
        """Start a forward."""
        self.rows = rows if any(rows) else ()
        self._indices = {}

    def routes(self) -> list[str]:
        """The routes that any row carries."""
        return list(dict.fromkeys(use.route for uses in self.rows for use in uses))

    def of(self, route: str, repeats: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The positions of a route's rows `[k]`, and their scales `[k]`.

        `repeats` is how many consecutive positions a layer has for each row.
        """
        key = (route, repeats, device)
        if key not in self._indices:
            pairs = [
                (row * repeats + offset, use.scale)
                for row, uses in enumerate(self.rows)
                for use in uses
                if use.route == route
                for offset in range(repeats)
            ]
            positions, scales = zip(*pairs, strict=True)
            self._indices[key] = (
                torch.tensor(positions, device=device),
                torch.tensor(scales, device=device),
            )
        return self._indices[key]


class AdapterLayer:
    """One PEFT layer, and the hook that adds each row's own adapters to its output."""

    def __init__(self, layer: Any, rows: CurrentRows) -> None:
        self.layer = layer
        self._rows = rows
        layer.register_forward_hook(self)

    def __call__(self, layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        rows = self._rows
        if not rows.rows:
            return output
        x = inputs[0]
        repeats, rest = divmod(x.shape[0], len(rows.rows))
        assert rest == 0, "a LoRA layer's input has no whole number of positions per sample"
        for route in rows.routes():
            if route in layer.lora_A:
                positions, scales = rows.of(route, repeats, x.device)
                output = output.index_add(0, positions, self._delta(route, x[positions], scales))
        return output

    def _delta(self, route: str, x: Tensor, scales: Tensor) -> Tensor:
        down: nn.Module = self.layer.lora_A[route]
        up: nn.Module = self.layer.lora_B[route]
        weight = next(down.parameters())
        delta: Tensor = up(down(x.to(weight.dtype))).to(x.dtype)
        scales = (scales * self.layer.scaling[route]).to(delta.dtype)
        return delta * scales.reshape(-1, *(1,) * (delta.ndim - 1))


def read_adapter(card: AdapterCard) -> dict[str, Tensor]:
    """An adapter's weights, from safetensors only.

    Raises:
        CardError: no such file, or not safetensors, or a kind that cannot share a batch.
    """
    path = card.file or _fetched(card)
    try:
        with safe_open(path, "pt") as file:
            if any("dora_scale" in name or "lora_magnitude" in name for name in file.keys()):
                raise CardError(f"{path}: DoRA weights cannot share a batch; wanted a plain LoRA")
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CardError(f"{path}: not a safetensors file: {error}") from error


def _fetched(card: AdapterCard) -> str:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    name = card.weight_name or "pytorch_lora_weights.safetensors"
    try:
        return hf_hub_download(card.source, name, revision=card.revision)
    except Exception as error:
        raise CardError(f"{card.path}: cannot fetch '{card.source}' {name}: {error}") from error
