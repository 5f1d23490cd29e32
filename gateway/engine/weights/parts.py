"""An endpoint's parts that lie elsewhere than in its pipeline's folder, read one by one."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import (
    create_diffusers_clip_model_from_ldm,
    create_diffusers_t5_model_from_checkpoint,
    is_clip_model_in_single_file,
    is_t5_in_single_file,
)
from diffusers.models.model_loading_utils import load_model_dict_into_meta
from torch import nn
from transformers import ProcessorMixin

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.heads.layouts import PREFIX, section_of, sections_among
from gateway.catalog.sources.parts import Place, places_of
from gateway.engine.weights.checkpoint import Checkpoint, opened, unpacked
from gateway.engine.weights.processors import processor
from gateway.engine.weights.quantization import packed_file, packing, store_packed

UNFIT = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, NameError,
    ImportError,
)  # fmt: skip
"""What conversions raise over names and shapes that are not what they take them for."""

Conversion = Callable[..., dict[str, Any]]
Shapes = dict[str, torch.Size]


def load_parts(card: EndpointCard, dtype_called: Callable[[str], torch.dtype]) -> dict[str, Any]:
    """The parts that are not read with the pipeline; None for those that it does without.

    Raises:
        CardError: one is not what the card says.
    """
    places = {place.name: place for place in places_of(card)}
    loaded: dict[str, Any] = {name: None for name in _left_out(card) if name not in places}
    for name, place in places.items():
        dtype = dtype_called(place.given.dtype or card.dtype)
        try:
            if place.is_own or _reads_both(place):
                loaded[name] = _part(place, card.variant, dtype)
        except UNFIT as error:
            shown = f" ({place.file.name})" if place.file else ""
            raise CardError(f"{name}{shown}: no {place.cls}: {error}", card.path) from error
    return loaded


def _part(place: Place, variant: str | None, dtype: torch.dtype) -> Any:
    kind = _class_of(place)
    assert place.folder is not None
    if issubclass(kind, ProcessorMixin):
        return processor(kind, place.folder)
    if not issubclass(kind, nn.Module):
        return kind.from_pretrained(str(place.folder))
    quantized = place.given.quantized
    config = packing(quantized, kind, dtype)
    more = {} if config is None else {"quantization_config": config}
    if place.file is None:
        comes_so = any(f".{variant}" in path.name for path in place.folder.glob("*.safetensors"))
        module = kind.from_pretrained(
            str(place.folder), variant=variant if comes_so else None, dtype=dtype,
            use_safetensors=True, **more,
        )  # fmt: skip
    else:
        weights = _of_part(place, opened(place.file, dtype))
        if weights.is_packed and quantized:
            raise ValueError(f"it is packed already, and cannot be {quantized}")
        read = _text_encoder if place.library == "transformers" else _model
        module = read(kind, weights, place.folder, dtype, more)
    store_packed(quantized, module, dtype)
    return module


def _of_part(place: Place, weights: Checkpoint) -> Checkpoint:
    """What of a file that may hold a whole pipeline is a part's."""
    section = section_of(place.name, place.cls)
    if len(sections_among(weights)) == 1:
        return weights
    return weights.part(lambda name: name if section in sections_among([name]) else None)


def _reads_both(place: Place) -> bool:
    """Whether a part reads texts and pictures, of which diffusers' own loading wants all."""
    is_likely = place.library == "transformers" and place.cls.endswith("Processor")
    return is_likely and issubclass(_class_of(place), ProcessorMixin)


def _class_of(place: Place) -> Any:
    is_plain = place.library in ("diffusers", "transformers")
    library = import_module(place.library if is_plain else f"diffusers.pipelines.{place.library}")
    return getattr(library, place.cls)


def _text_encoder(
    kind: Any, weights: Checkpoint, folder: Path, dtype: torch.dtype, more: dict[str, Any]
) -> Any:
    """A model of transformers, from among a whole pipeline's weights or from a file of its own."""
    is_whole = is_clip_model_in_single_file(kind, weights) or is_t5_in_single_file(weights)
    if is_whole and more:
        raise ValueError("what is in a file with others is not packed; wanted a file of its own")
    given = {"config": str(folder), "torch_dtype": dtype, "local_files_only": True}
    if is_clip_model_in_single_file(kind, weights):
        return create_diffusers_clip_model_from_ldm(kind, weights, **given)
    if is_t5_in_single_file(weights):
        return create_diffusers_t5_model_from_checkpoint(kind, weights, **given)
    config = kind.config_class.from_pretrained(str(folder))
    module, told = kind.from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True, **more
    )
    if lacking := sorted(told["missing_keys"]):
        raise ValueError(f"it lacks the weights '{lacking[0]}'")
    return module


def _model(
    kind: Any, weights: Checkpoint, folder: Path, dtype: torch.dtype, more: dict[str, Any]
) -> Any:
    """A model of diffusers, under whatever names its weights are published."""
    if weights.is_packed:
        more = {"quantization_config": packed_file(dtype)}
    config = kind.load_config(str(folder))
    with init_empty_weights():
        module = kind.from_config(config)
    wanted = {name: weight.shape for name, weight in module.state_dict().items()}
    own = own_conversion(kind)
    converted = _converted(weights, wanted, config, own)
    if own:
        module = kind.from_single_file(
            converted, config=str(folder), dtype=dtype, local_files_only=True, **more
        )
        return _unpack_all_but_linear(module, dtype) if weights.is_packed else module
    if more:
        raise ValueError("a class that diffusers knows no files of is not packed out of one")
    load_model_dict_into_meta(module, converted, dtype=dtype)
    return module.to(dtype)


def _unpack_all_but_linear(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Leave packed what a linear layer unpacks at work, and nothing else."""
    for inner in module.modules():
        if not isinstance(inner, nn.Linear):
            learned = [*inner.named_parameters(recurse=False)]
            for name, weight in [*learned, *inner.named_buffers(recurse=False)]:
                if hasattr(weight, "quant_type"):
                    plain = unpacked(weight).to(dtype)
                    is_learned = name in inner._parameters
                    setattr(inner, name, nn.Parameter(plain, False) if is_learned else plain)
    return module


def own_conversion(kind: type) -> Conversion | None:
    """diffusers' conversion for a class; None where it has none."""
    names = (base.__name__ for base in kind.__mro__)
    found = next((name for name in names if name in SINGLE_FILE_LOADABLE_CLASSES), None)
    return SINGLE_FILE_LOADABLE_CLASSES[found]["checkpoint_mapping_fn"] if found else None


def _converted(
    weights: Checkpoint, wanted: Shapes, config: dict[str, Any], own: Conversion | None
) -> dict[str, Any]:
    """A file's weights under a module's names.

    Raises:
        ValueError: nothing known makes such of them.
    """
    convert, part = fitting(weights, wanted, config, own)
    found = convert(checkpoint=part, config=config)
    return found if found is part else {name: found[name] for name in wanted}


def fitting(
    weights: Checkpoint, wanted: Shapes, config: dict[str, Any], own: Conversion | None
) -> tuple[Conversion, Checkpoint]:
    """Which conversion makes a file's names and shapes those wanted, and of what of the file.

    It is tried on shapes alone; a class that diffusers has none for may share that of another.

    Raises:
        ValueError: none does.
    """
    others = [each["checkpoint_mapping_fn"] for each in SINGLE_FILE_LOADABLE_CLASSES.values()]
    for convert in dict.fromkeys([_as_it_is, *([own] if own else others)]):
        for part in (weights, weights.part(_without_prefix), weights.part(_with_prefix)):
            with suppress(*UNFIT):
                made = convert(checkpoint=part.sketch(), config=config)
                if all(name in made and made[name].shape == wanted[name] for name in wanted):
                    return convert, part
    raise ValueError("nothing known makes its names and shapes those of the configs")


def _as_it_is(checkpoint: dict[str, Any], config: Any) -> dict[str, Any]:
    return checkpoint


def _without_prefix(name: str) -> str | None:
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def _with_prefix(name: str) -> str:
    return PREFIX + name


def _left_out(card: EndpointCard) -> list[str]:
    return [name for name, given in card.parts.items() if given is None]
