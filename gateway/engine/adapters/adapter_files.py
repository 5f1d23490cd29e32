"""Reading an adapter's file, in whatever key format there is, without touching a live model.

diffusers tells which layers a LoRA changes (`listening.py`), PEFT reads what it wrote itself
(`tuned.py`). Layers whose change is of another kind are found by their names, and keep the parts
that the file has.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub.errors import RemoteEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from gateway.catalog.cards import AdapterCard, CardError
from gateway.catalog.heads.endings import PICKLES, WEIGHTS, ends
from gateway.catalog.heads.kinds import (
    BUNDLED,
    DOWN,
    LORA_FILE,
    PEFT_CONFIG,
    PEFT_FILE,
    PLAIN,
    WHOLE,
    config_beside,
    layers_in,
    tuned_in,
    unread_in,
    why_unread,
)
from gateway.catalog.sources.civitai import civitai_file, is_civitai
from gateway.catalog.sources.hub import FAULTS, hub_file
from gateway.engine.adapters.adapters import AdapterWeights, LayerKey, LayerWeights
from gateway.engine.adapters.changes import Change
from gateway.engine.adapters.listening import Heard, heard
from gateway.engine.adapters.placing import Place, Places
from gateway.engine.adapters.tuned import read_tuned
from gateway.engine.weights.files import safe_open
from gateway.engine.weights.unusable import reason_of
from gateway.errors import ModelNotFound


def read_adapter(card: AdapterCard, pipeline: Any, device: torch.device) -> AdapterWeights:
    """An adapter's weights for a pipeline, on its device and in its components' dtypes.

    Call it where modules may be built, if it `builds_modules`; see `construction.CONSTRUCTION`.

    Raises:
        ModelNotFound: its file is gone.
        CardError: no such file, not safetensors, or not a LoRA that fits this pipeline.
    """
    path = adapter_file(card)
    found = _Found(card, path, pipeline, device)
    names = _names(path)
    if config_beside(path):
        found.take_tuned()
        return found.weights
    layers = layers_in(names)
    own = {layer: parts for layer, parts in layers.items() if parts.keys() - PLAIN}
    taken = {name for parts in own.values() for name in parts.values()}
    others = {name for name in names - taken if not name.startswith(BUNDLED)}
    found.take(own)
    if not own or any("lora" in name for name in others):
        plain = {layer: parts for layer, parts in layers.items() if layer not in own}
        with TemporaryDirectory() as folder:
            is_part = others != names
            file = _part_of(path, others, Path(folder) / "part.safetensors") if is_part else path
            try:
                found.take_lora(file)
            except CardError as refused:
                found.take_instead(plain, refused)
    return found.weights


class _Found:
    """What of a file has been understood so far, on a device."""

    def __init__(self, card: AdapterCard, path: Path, pipeline: Any, device: torch.device) -> None:
        self._card = card
        self._path = path
        self._pipeline = pipeline
        self._components = pipeline.components  # a signature is made each time it is asked for
        self._device = device
        self._dtypes: dict[str, torch.dtype] = {}
        self._low_rank: dict[LayerKey, LayerWeights] = {}
        self._changes: dict[LayerKey, Change] = {}

    @property
    def weights(self) -> AdapterWeights:
        """All of it."""
        return AdapterWeights(self._low_rank, self._changes)

    def take_tuned(self) -> None:
        """Have PEFT read what it wrote.

        Raises:
            CardError: it is not for such a pipeline.
        """
        for place, change in read_tuned(self._path, self._pipeline):
            self._add(place, change)
        if not self._low_rank and not self._changes:
            raise CardError(f"changes no layer of '{self._card.endpoint}'", self._path)

    def take_lora(self, path: Path) -> None:
        """Have diffusers read a LoRA.

        Raises:
            CardError: it finds none for such a pipeline.
        """
        pipeline = self._pipeline
        if not hasattr(pipeline, "load_lora_weights"):
            raise CardError(f"{type(pipeline).__name__} takes no LoRA", self._card.path)
        try:
            said = heard(pipeline, path)
        except (ValueError, RuntimeError, LookupError, TypeError) as error:
            raise CardError(
                f"not a LoRA for '{self._card.endpoint}': {error}", self._path
            ) from error
        if not said:
            raise CardError(f"holds no LoRA weights for '{self._card.endpoint}'", self._path)
        for one in said:
            self._take_heard(one)

    def take_instead(self, layers: Mapping[str, Mapping[str, str]], refused: CardError) -> None:
        """Find a LoRA's layers by their names alone, where diffusers has said why not."""
        try:
            self.take(layers)
        except CardError:
            raise refused from None
        if not layers:
            raise refused

    def take(self, layers: Mapping[str, Mapping[str, str]]) -> None:
        """Take the layers of a file by their names, each with the parts that it has."""
        places = Places(self._pipeline)
        with safe_open(self._path, "pt") as file:
            parts = {
                layer: {part: file.get_tensor(name) for part, name in named.items()}
                for layer, named in layers.items()
            }
        found = places.find({layer: _height(each) for layer, each in parts.items()})
        for layer, each in parts.items():
            if not found.get(layer):
                raise CardError(
                    f"'{layer}' is no layer of '{self._card.endpoint}' that it could change",
                    self._path,
                )
            for place in found[layer]:
                self._add(place, Change(each, place.rows))

    def _take_heard(self, said: Heard) -> None:
        paths = {path for path, _ in self._components[said.component].named_modules()}
        known = [layer for layer in said.layers() if layer[0] in paths]
        if not known:
            raise CardError(
                f"not a LoRA for '{self._card.endpoint}': its {said.component} has none of the "
                "layers that it changes",
                self._path,
            )
        for path, parts, scaling in known:
            self._add(Place(said.component, path), Change(parts, scaling=scaling))

    def _add(self, place: Place, change: Change) -> None:
        """Keep a change, as two matrices where it is that."""
        layer = self._components[place.component].get_submodule(place.path)
        key = (place.component, place.path)
        factors = change.low_rank() if _is_plain(layer) else None
        if factors is None or WHOLE & change.parts.keys():
            self._check_finite(change.parts.values())
            _check_fits(layer, change.to(self._device), self._path)
            self._changes[key] = change
            return
        self._check_finite(factors)
        try:
            down, up = _shaped(layer, *factors)
        except RuntimeError as error:
            raise CardError(f"does not fit '{place.path}': {error}", self._path) from error
        dtype = self._dtype(place.component)
        self._low_rank[key] = LayerWeights(down.to(self._device, dtype), up.to(self._device, dtype))

    def _check_finite(self, parts: Iterable[Tensor]) -> None:
        # A sum is finite where all of its numbers are, and takes a fifth of the time.
        if not all(part.sum(dtype=torch.float32).isfinite() for part in parts):
            raise CardError("holds numbers that are not finite", self._path)

    def _dtype(self, component: str) -> torch.dtype:
        """A component's type of numbers; asked once, since to ask walks through all its modules.

        Two thirds of the time that a LoRA of SDXL took to read went into asking for each layer.
        """
        if component not in self._dtypes:
            self._dtypes[component] = self._components[component].dtype
        return self._dtypes[component]


def builds_modules(card: AdapterCard) -> bool:
    """Whether modules are built where an adapter is read that is here."""
    return config_beside(adapter_file(card)) is not None


def adapter_files(card: AdapterCard) -> list[Path]:
    """The file of an adapter, and what PEFT wrote beside it, fetched where they are not here.

    Raises:
        ModelNotFound: they were here.
        CardError: they cannot be fetched, or are pickles.
    """
    file = adapter_file(card)
    config = config_beside(file)
    return [file, config] if config else [file]


def size_bytes(weights: AdapterWeights) -> int:
    """Bytes of an adapter's weights."""
    tensors = (tensor for layer in weights.low_rank.values() for tensor in layer)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + sum(
        change.size_bytes for change in weights.changes.values()
    )


def adapter_file(card: AdapterCard) -> Path:
    """The file of an adapter, fetched where it is not here.

    Raises:
        ModelNotFound: it was here.
        CardError: it cannot be fetched, or is a pickle.
    """
    name = card.weight_name or LORA_FILE
    local = civitai_file(card.source, card.weight_name) if is_civitai(card.source) else card.file
    if local is None and ends(card.source, WEIGHTS):
        raise ModelNotFound(f"The file of the adapter `{card.id}` is no longer there.")
    if local is not None:
        path = local / name if local.is_dir() else local
    else:
        path = _fetched(card, name)
    if ends(path, *PICKLES):
        raise CardError(f"{path.name}: pickled weights are refused; wanted .safetensors", path)
    return path


def _fetched(card: AdapterCard, name: str) -> Path:
    if ends(name, *PICKLES):
        raise CardError(f"{card.source}/{name}: pickled weights are refused; wanted .safetensors")
    try:
        if name == PEFT_FILE:
            with suppress(RemoteEntryNotFoundError):
                hub_file(card.source, PEFT_CONFIG, card.revision)
        return hub_file(card.source, name, card.revision)
    except FAULTS as error:
        raise CardError(
            f"cannot fetch '{card.source}' {name}: {reason_of(error)}", card.path
        ) from error


def _names(path: Path) -> frozenset[str]:
    try:
        with safe_open(path, "pt") as file:
            names = frozenset(file.keys())
    except (SafetensorError, OSError) as error:
        raise CardError(f"not a safetensors file: {error}", path) from error
    if why := why_unread(unread_in(names), tuned_in(names), path):
        raise CardError(why, path)
    return names


def _part_of(path: Path, names: Collection[str], part: Path) -> Path:
    """A file with some of another's tensors, and all of its facts."""
    with safe_open(path, "pt") as file:
        save_file({name: file.get_tensor(name) for name in names}, part, file.metadata())
    return part


def _height(parts: Mapping[str, Tensor]) -> int:
    """How wide the output of a layer of a file is."""
    if "lokr_w1" in parts or "lokr_w1_a" in parts:
        first = parts.get("lokr_w1", parts.get("lokr_w1_a"))
        second = parts.get("lokr_w2", parts.get("lokr_w2_a"))
        assert first is not None
        if second is None:
            return 0
        return len(first) * second.shape[1 if "lokr_t2" in parts else 0]
    if "hada_w1_a" in parts:
        return parts["hada_w1_a"].shape[1 if "hada_t1" in parts else 0]
    if "oft_blocks" in parts:
        return parts["oft_blocks"].shape[-3] * parts["oft_blocks"].shape[-1]
    if "b1" in parts:
        return max(len(parts["b1"]), len(parts["b2"]))
    return max((len(part) for name, part in parts.items() if part.ndim and name != DOWN), default=0)


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer's rows can be given a change as two matrices."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def _shaped(layer: Any, down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices in the shapes of a layer.

    Raises:
        RuntimeError: they are of a layer of other widths.
    """
    rank = len(down)
    if isinstance(layer, nn.Conv2d):
        taken = (layer.in_channels, *layer.kernel_size)
        return down.reshape(rank, *taken), up.reshape(layer.out_channels, rank, 1, 1)
    return down.reshape(rank, layer.in_features), up.reshape(layer.out_features, rank)


def _check_fits(layer: nn.Module, change: Change, path: Path) -> None:
    own = {name: weight.data for name, weight in layer.named_parameters(recurse=False)}
    weight = own.get("weight")
    if weight is None or type(weight) is not Tensor or not weight.is_floating_point():
        raise CardError(
            f"a layer of {type(layer).__name__} cannot be changed but by a plain LoRA", path
        )
    try:
        with torch.inference_mode():
            differences = change.differences(own, 1.0)
    except (RuntimeError, KeyError, IndexError) as error:
        raise CardError(f"does not fit a layer of {type(layer).__name__}: {error}", path) from error
    for name, difference in differences.items():
        if name in own and difference.shape != own[name].shape:
            raise CardError(f"does not fit a layer of {type(layer).__name__}", path)
