"""Which layers of a pipeline a file's names mean, in whatever spelling its trainer had.

A name is a layer's path, with a prefix for its component, and with dots or underscores. Where
it is that of another program's model, diffusers' own conversion tells: a marked LoRA of that
name goes in, and where its marks come out is the place, and which of its rows go there.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from torch import Tensor, nn

from gateway.catalog.heads.kinds import DOWN, UP, layers_in

_DENOISERS = ("transformer", "unet")
_PREFIXES = {
    "base_model_model_": None, "lycoris_": None, "model_": None, "diffusion_model_": _DENOISERS,
    "lora_unet_": _DENOISERS, "oft_unet_": _DENOISERS, "lora_transformer_": _DENOISERS,
    "unet_": _DENOISERS, "transformer_": _DENOISERS, "lora_te_": ("text_encoder",),
    "lora_te1_": ("text_encoder",), "lora_te2_": ("text_encoder_2",),
    "lora_te3_": ("text_encoder_3",), "text_encoder_2_": ("text_encoder_2",),
    "text_encoder_3_": ("text_encoder_3",), "text_encoder_": ("text_encoder",),
    "te_": ("text_encoder",), "te1_": ("text_encoder",), "te2_": ("text_encoder_2",),
}  # fmt: skip
"""What stands before a layer's path, and the components that it may mean."""

_FUSED = {"qkv": ("to_q", "to_k", "to_v"), "to_qkv": ("to_q", "to_k", "to_v")}
"""Layers that others keep as one, and what they are here, in the order of their rows."""

_OTHER_NAMES = {"out": "to_out_0", "to_out": "to_out_0", "q_norm": "norm_q", "k_norm": "norm_k"}


class Place(NamedTuple):
    """A layer, and which rows of a file's layer are its own where it has more."""

    component: str
    path: str
    rows: Tensor | None = None


class Places:
    """The layers of a pipeline that adapters may change."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._modules: dict[str, nn.Module] = {
            name: module
            for name in (*_DENOISERS, "text_encoder", "text_encoder_2", "text_encoder_3")
            if isinstance(module := pipeline.components.get(name), nn.Module)
        }
        self._paths = {
            name: {path.replace(".", "_"): path for path in _layers(module)}
            for name, module in self._modules.items()
        }

    def layer(self, place: Place) -> nn.Module:
        """The module at a place."""
        return self._modules[place.component].get_submodule(place.path)

    def find(self, heights: Mapping[str, int]) -> dict[str, list[Place]]:
        """The places of a file's layers, whose outputs are so many wide; none where unknown."""
        found = {name: self._named(name) for name in heights}
        if strange := {name: heights[name] for name, places in found.items() if not places}:
            found |= self._converted(strange)
        return found

    def _named(self, name: str) -> list[Place]:
        for component, flat in self._readings(name):
            paths = self._paths[component]
            if flat in paths:
                return [Place(component, paths[flat])]
            for other, own in _OTHER_NAMES.items():
                if (told := _with_end(flat, other, own)) in paths:
                    return [Place(component, paths[told])]
            for fused, parts in _FUSED.items():
                inner = [_with_end(flat, fused, part) for part in parts]
                if all(each in paths for each in inner):
                    return self._split(component, [paths[each] for each in inner])
        return []

    def _readings(self, name: str) -> Iterator[tuple[str, str]]:
        """What a name may mean: components, and flat paths within."""
        path = name.replace(".processor.", ".")  # where LoRAs lay before layers had their own
        pending = [(tuple(self._modules), path.replace(".", "_"))]
        while pending:
            components, flat = pending.pop()
            for component in components:
                for told in (flat, flat.removeprefix("text_model_"), f"text_model_{flat}"):
                    yield component, told
            for prefix, meant in _PREFIXES.items():
                if flat.startswith(prefix):
                    inner = [one for one in meant or components if one in self._modules]
                    pending.append((tuple(inner), flat.removeprefix(prefix)))

    def _split(self, component: str, paths: list[str]) -> list[Place]:
        """Layers that lie one below the other in one of a file."""
        places, start = [], 0
        for path in paths:
            weight = self.layer(Place(component, path)).get_parameter("weight")
            places.append(Place(component, path, torch.arange(start, start + len(weight))))
            start += len(weight)
        return places

    def _converted(self, heights: Mapping[str, int]) -> dict[str, list[Place]]:
        """What diffusers makes of names, in the spelling they have or in its trainers' own.

        One by one, where it does not know all of them.
        """
        for spell in (_Spelt, _SpeltAsTrained):
            if found := self._marked([spell(name, height) for name, height in heights.items()]):
                return found
        if len(heights) == 1:
            return {}
        each = (self._converted({name: height}) for name, height in heights.items())
        return {name: places for found in each for name, places in found.items()}

    def _marked(self, spelt: "list[_Spelt]") -> dict[str, list[Place]]:
        convert = getattr(self._pipeline, "lora_state_dict", None)
        if convert is None:
            return {}
        marked: dict[str, Tensor] = {}
        for number, each in enumerate(spelt, 1):
            marked |= each.marked(float(number))
        unet = self._modules.get("unet")
        more = {"unet_config": unet.config} if unet is not None else {}
        try:
            result = convert(marked, **more)
        except Exception:  # whatever its conversions raise of names they do not know
            return {}
        return self._unmarked(result[0] if isinstance(result, tuple) else result, spelt)

    def _unmarked(
        self, converted: dict[str, Tensor], spelt: "list[_Spelt]"
    ) -> dict[str, list[Place]]:
        named = convert_unet_state_dict_to_peft(converted)
        found: dict[str, list[Place]] = {}
        for layer, parts in layers_in(named).items():
            places = self._named(layer)
            if len(places) != 1 or not {UP, DOWN} <= parts.keys():
                continue
            source = spelt[round(float(named[parts[DOWN]].flatten()[0])) - 1]
            rows = named[parts[UP]].flatten().round().long() - 1
            is_whole = torch.equal(rows, torch.arange(source.height))
            place = places[0]._replace(rows=None if is_whole else rows)
            found.setdefault(source.name, []).append(place)
        return found


class _Spelt:
    """A layer's name as a file has it, and a LoRA of it that is marked: by rows, and by number."""

    def __init__(self, name: str, height: int) -> None:
        self.name = name
        self.height = height

    @property
    def spelling(self) -> str:
        """The name to ask with."""
        return self.name

    def marked(self, number: float) -> dict[str, Tensor]:
        """The LoRA's tensors."""
        name = self.spelling
        is_dotted = "." in name
        down, up = ("lora_A", "lora_B") if is_dotted else ("lora_down", "lora_up")
        return {
            f"{name}.{down}.weight": torch.full((1, 1), number),
            f"{name}.{up}.weight": torch.arange(1.0, self.height + 1)[:, None],
        } | ({} if is_dotted else {f"{name}.alpha": torch.tensor(1.0)})


class _SpeltAsTrained(_Spelt):
    """The same as kohya's scripts would have spelt it."""

    @property
    def spelling(self) -> str:
        """The name to ask with."""
        inner = self.name.removeprefix("model.").removeprefix("diffusion_model.")
        return inner if "." not in inner else f"lora_unet_{inner.replace('.', '_')}"


def _layers(module: nn.Module) -> Iterator[str]:
    """The paths within a module of those that have weights themselves."""
    for path, inner in module.named_modules():
        if next(inner.parameters(recurse=False), None) is not None:
            yield path


def _with_end(flat: str, end: str, other: str) -> str:
    """A path with another end; no path at all where it has not that end."""
    return f"{flat.removesuffix(end)}{other}" if flat.endswith(f"_{end}") else "\0"
