"""Adapters as PEFT writes them: a configuration beside the weights says what these are.

PEFT itself reads them, into a hollow twin of the module that they are for, and merges what is
of no form that rows of a batch can be given as two matrices.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.adalora.layer import AdaLoraLayer
from peft.tuners.ln_tuning.layer import LNTuningLayer
from peft.tuners.loha.layer import LoHaLayer
from peft.tuners.lokr.layer import LoKrLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.tuners.vera.layer import VeraLayer
from peft.utils import set_peft_model_state_dict
from torch import Tensor, nn

from gateway.catalog.cards import CardError
from gateway.catalog.heads.kinds import DOWN, MAGNITUDE, PEFT_CONFIG, PEFT_KINDS, UP
from gateway.engine.adapters.changes import Change
from gateway.engine.adapters.hollow import hollow_module
from gateway.engine.adapters.placing import Place
from gateway.engine.adapters.turning import Parts
from gateway.engine.weights.files import safe_open

NAME = "adapter"
_COMPONENTS = ("transformer", "unet", "text_encoder", "text_encoder_2", "text_encoder_3")
_PREFIX = "base_model.model."
_WRAPPED = re.compile(rf"\.(base_layer|(modules_to_save|ln_tuning_layers)\.{NAME})(?=\.|$)")
"""What PEFT puts into the paths of a model's own layers."""

_FROM_WEIGHTS = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
"""How LoRAs begin that take what they began with away from the layer's own weights."""

_STRANGE = ("megatron_config", "layer_replication", "target_parameters")


class Tuned(NamedTuple):
    """What an adapter does to a layer."""

    place: Place
    change: Change


class Merged(Change):
    """What a layer of PEFT's makes of a weight when it is merged into it."""

    def __init__(self, layer: Any, replaced: Parts) -> None:
        self._layer = layer
        super().__init__(self._learnt() | dict(replaced))

    @property
    def is_additive(self) -> bool:
        """Whether it is the same whatever the layer's own weights are."""
        return False

    def to(self, device: torch.device) -> Change:
        """The same on a device, for good."""
        for part in self._learnt().values():
            part.data = part.data.to(device)
        return super().to(device)

    def differences(self, own: Parts, scale: float) -> dict[str, Tensor]:
        """What is added to a layer's `weight` and `bias` at a scale, in float32."""
        base = self._layer.get_base_layer()
        hollow = dict(base._parameters)
        before = {name: weight.float() for name, weight in own.items()}
        try:
            for name, weight in before.items():
                base._parameters[name] = nn.Parameter(weight.clone(), requires_grad=False)
            self._layer.merge(adapter_names=[NAME])
            found = {name: (base._parameters[name] - one) * scale for name, one in before.items()}
        finally:
            self._layer.merged_adapters.clear()
            base._parameters.update(hollow)
        return found | self._replaced(own, scale)

    def _learnt(self) -> dict[str, Tensor]:
        """The adapter's part of the layer, without what stands for the layer's own weights."""
        base = {id(weight) for weight in self._layer.get_base_layer().parameters()}
        parts = self._layer.state_dict(keep_vars=True)
        return {name: part for name, part in parts.items() if id(part) not in base}


def read_tuned(path: Path, pipeline: Any) -> Iterator[Tuned]:
    """What a file that PEFT wrote changes of a pipeline.

    Raises:
        CardError: it is of a kind that is not read here, or for no module of such a pipeline.
    """
    config = _config(path)
    with safe_open(path) as file:
        weights = {name: _precise(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    component = _component(weights, pipeline)
    if component is None:
        raise CardError("its layers are none of this pipeline's", path)
    twin = hollow_module(pipeline.components[component])
    seeming = list(twin.parameters())
    try:
        model = PeftModel(twin, config, adapter_name=NAME).eval()
        told = set_peft_model_state_dict(model, weights, NAME, low_cpu_mem_usage=True)
    except (ValueError, RuntimeError, LookupError, TypeError, ImportError) as error:
        raise CardError(f"{PEFT_CONFIG}: {error}", path) from error
    modules = dict(model.base_model.model.named_modules())
    _check_complete(path, told, modules.values())
    yield from _changes(component, modules, {id(weight) for weight in seeming})


def change_of(layer: Any, replaced: Parts | None = None) -> Change:
    """What a layer of PEFT's does to its own, with weights that take the place of the own."""
    more, is_linear = dict(replaced or {}), isinstance(layer.get_base_layer(), nn.Linear)
    if isinstance(layer, LoHaLayer | LoKrLayer):
        given = {name: getattr(layer, name) for name in layer.adapter_layer_names}
        parts = {name: one[NAME].detach() for name, one in given.items() if NAME in one}
        return Change(parts | more, scaling=layer.scaling[NAME])
    if isinstance(layer, VeraLayer):
        (num_out,), (num_in,) = layer.vera_lambda_b[NAME].shape, (layer.in_features,)
        down = layer.vera_lambda_d[NAME][:, None] * layer.vera_A[NAME][:, :num_in]
        up = layer.vera_lambda_b[NAME][:, None] * layer.vera_B[NAME][:num_out]
        return Change({DOWN: down.detach(), UP: up.detach()} | more)
    if isinstance(layer, AdaLoraLayer) and is_linear:
        scaling = layer.scaling[NAME] / (layer.ranknum[NAME] + 1e-5)
        down = layer.lora_A[NAME] * layer.lora_E[NAME]
        return Change({DOWN: down.detach(), UP: (layer.lora_B[NAME] * scaling).detach()} | more)
    if isinstance(layer, LoraLayer) and not isinstance(layer, AdaLoraLayer) and _is_known(layer):
        return _lora(layer, more)
    return Merged(layer, more)


def _is_known(layer: Any) -> bool:
    """Whether a LoRA's layer is of no variant but DoRA."""
    return NAME not in layer.lora_variant or layer.use_dora.get(NAME, False)


def _lora(layer: Any, more: Parts) -> Change:
    """A LoRA, its scaling in the second matrix."""
    down, up = layer.lora_A[NAME].weight.detach(), layer.lora_B[NAME].weight.detach()
    scaling = layer.scaling[NAME]
    parts = {DOWN: down, UP: up * scaling} | dict(more)
    if layer.lora_B[NAME].bias is not None:
        parts["diff_b"] = layer.lora_B[NAME].bias.detach() * scaling
    if layer.use_dora.get(NAME, False):
        parts[MAGNITUDE] = layer.lora_magnitude_vector[NAME].weight.detach().flatten()
    return Change(parts)


def _config(path: Path) -> PeftConfig:
    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(path.parent))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CardError(f"{PEFT_CONFIG}: {error}", path) from error
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind not in PEFT_KINDS:
        raise CardError(f"{kind} weights are not read here", path)
    begun = str(getattr(config, "init_lora_weights", "")).lower()
    if begun.startswith(_FROM_WEIGHTS):
        raise CardError(
            f"{PEFT_CONFIG}: what began as '{begun}' counts from other weights than the model's; "
            "wanted what PEFT saves with path_initial_model_for_weight_conversion",
            path,
        )
    for key in _STRANGE:
        if getattr(config, key, None):
            raise CardError(f"{PEFT_CONFIG}: key '{key}' is not read here", path)
    config.inference_mode = True
    return config


def _precise(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _component(names: Collection[str], pipeline: Any) -> str | None:
    """The part of a pipeline that most of a file's layers are of."""

    def num_known(component: nn.Module) -> int:
        paths = {path for path, _ in component.named_modules() if path}
        return sum(
            any(name[: dot.start()] in paths for dot in re.finditer(r"\.", name))
            for name in (name.removeprefix(_PREFIX) for name in names)
        )

    counts = {
        name: num_known(component)
        for name in _COMPONENTS
        if isinstance(component := pipeline.components.get(name), nn.Module)
    }
    best = max(counts, key=counts.__getitem__, default=None)
    return best if best and counts[best] else None


def _check_complete(path: Path, told: Any, modules: Collection[nn.Module]) -> None:
    learnt = {name for one in modules for name in getattr(one, "adapter_layer_names", ())}
    lacking = [key for key in told.missing_keys if learnt & set(key.split("."))]
    if told.unexpected_keys:
        raise CardError(f"'{told.unexpected_keys[0]}' is nothing that it could change", path)
    if lacking:
        raise CardError(f"'{lacking[0]}' is missing", path)


def _changes(
    component: str, modules: Mapping[str, Any], seeming: Collection[int]
) -> Iterator[Tuned]:
    """What is changed in a model of PEFT's; `seeming` are the weights that nobody has set."""
    inside: set[int] = set()
    for path, layer in modules.items():
        place = Place(component, _WRAPPED.sub("", f".{path}").removeprefix("."))
        if isinstance(layer, BaseTunerLayer) and not isinstance(layer, LNTuningLayer):
            inside |= {id(part) for part in layer.modules()}
            base = layer.get_base_layer()
            yield Tuned(place, change_of(layer, _set(base, seeming)))
        elif id(layer) not in inside and (given := _set(layer, seeming)):
            yield Tuned(place, Change(given))


def _set(layer: nn.Module, seeming: Collection[int]) -> dict[str, Tensor]:
    """The weights of a layer that take the place of its own."""
    return {
        f"set_{name}": weight.detach()
        for name, weight in layer.named_parameters(recurse=False)
        if id(weight) not in seeming
    }
