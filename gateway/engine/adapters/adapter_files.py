"""Reading an adapter's file, in whatever key format there is, without touching a live model.

diffusers and PEFT load LoRAs into a hollow twin of the pipeline, whose weights take no memory;
what they built there is taken out as plain matrices. Layers whose change is of another kind
are found by their names, and keep the parts that the file has.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub.errors import RemoteEntryNotFoundError
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from gateway.catalog.cards import AdapterCard, CardError
from gateway.catalog.civitai import civitai_file, is_civitai
from gateway.catalog.hub import FAULTS, hub_file
from gateway.catalog.kinds import (
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
from gateway.catalog.weights import PICKLES
from gateway.engine.adapters.adapters import AdapterWeights, LayerKey, LayerWeights
from gateway.engine.adapters.changes import Change
from gateway.engine.adapters.hollow import hollow_pipeline
from gateway.engine.adapters.placing import Place, Places
from gateway.engine.adapters.tuned import NAME, change_of, read_tuned
from gateway.engine.weights.files import safe_open
from gateway.engine.weights.unusable import reason_of
from gateway.errors import ModelNotFound


def read_adapter(card: AdapterCard, pipeline: Any, device: torch.device) -> AdapterWeights:
    """An adapter's weights for a pipeline, on its device and in its components' dtypes.

    Call it where modules may be built; see `loading.CONSTRUCTION`.

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
    others = names - {name for parts in own.values() for name in parts.values()}
    found.take(own)
    if not own or any("lora" in name for name in others):
        plain = {layer: parts for layer, parts in layers.items() if layer not in own}
        with TemporaryDirectory() as folder:
            file = _part_of(path, others, Path(folder) / "part.safetensors") if own else path
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
        for place, change, layer in read_tuned(self._path, self._pipeline):
            self._add(place, change, layer)
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
        twin = hollow_pipeline(pipeline)
        try:
            twin.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=NAME)
        except (ValueError, RuntimeError, LookupError, TypeError) as error:
            raise CardError(
                f"not a LoRA for '{self._card.endpoint}': {error}", self._path
            ) from error
        layers = _lora_layers(twin)
        if not layers:
            raise CardError(f"holds no LoRA weights for '{self._card.endpoint}'", self._path)
        for (component, layer_path), layer in layers:
            self._add(Place(component, layer_path), change_of(layer), layer.get_base_layer())

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
                self._add(place, Change(each, place.rows), places.layer(place))

    def _add(self, place: Place, change: Change, layer: nn.Module) -> None:
        """Keep a change, as two matrices where it is that."""
        if not all(part.isfinite().all() for part in change.parts.values()):
            raise CardError("holds numbers that are not finite", self._path)
        component = self._pipeline.components[place.component]
        own = component.get_submodule(place.path)
        key = (place.component, place.path)
        factors = change.low_rank() if _is_plain(layer) else None
        if factors is not None and not WHOLE & change.parts.keys():
            dtype = self._dtype(place.component)
            down, up = (factor.to(self._device, dtype) for factor in factors)
            if isinstance(layer, nn.Conv2d):
                down = down.reshape(len(down), *layer.weight.shape[1:])
                up = up[:, :, None, None]
            self._low_rank[key] = LayerWeights(down, up)
            return
        _check_fits(own, change.to(self._device), self._path)
        self._changes[key] = change

    def _dtype(self, component: str) -> torch.dtype:
        """A component's type of numbers; asked once, since to ask walks through all its modules.

        Two thirds of the time that a LoRA of SDXL took to read went into asking for each layer.
        """
        if component not in self._dtypes:
            self._dtypes[component] = self._pipeline.components[component].dtype
        return self._dtypes[component]


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
    if local is None and card.source.endswith(".safetensors"):
        raise ModelNotFound(f"The file of the adapter `{card.id}` is no longer there.")
    if local is not None:
        path = local / name if local.is_dir() else local
    else:
        path = _fetched(card, name)
    if path.suffix in PICKLES:
        raise CardError(f"{path.name}: pickled weights are refused; wanted .safetensors", path)
    return path


def _fetched(card: AdapterCard, name: str) -> Path:
    if name.endswith(PICKLES):
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


def _lora_layers(twin: Any) -> list[tuple[tuple[str, str], Any]]:
    return [
        ((component, path), layer)
        for component in twin._lora_loadable_modules
        if isinstance(module := getattr(twin, component, None), nn.Module)
        for path, layer in module.named_modules()
        if isinstance(layer, LoraLayer) and NAME in layer.scaling
    ]


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer's rows can be given a change as two matrices."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


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
