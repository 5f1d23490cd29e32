"""From a card to a pipeline in memory, through diffusers' and accelerate's own loading."""

import threading
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, DiffusionPipeline

from gateway.catalog import CardError, EndpointCard, FusedLora
from gateway.engine.parking import Entry, entries_of
from gateway.errors import UnsupportedValue
from gateway.job import Job

CONSTRUCTION = threading.Lock()
"""Held while modules are built: loading replaces `torch.nn.Module`'s methods for all threads."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class LoadedPipeline:
    """A pipeline in memory, its entry points parked, and its siblings for edits."""

    def __init__(self, card: EndpointCard, pipeline: Any, device: torch.device) -> None:
        self.card = card
        self.base = pipeline
        self.device = device
        self.entries: list[Entry] = entries_of(pipeline.components)
        self.size_bytes = size_bytes(pipeline.components)
        self._siblings: dict[str, Any] = {"generate": pipeline}
        for entry in self.entries:
            entry.park()

    def pipeline_for(self, job: Job) -> Any:
        """The pipeline that runs a job: the base, or one built from the same modules.

        Raises:
            UnsupportedValue: the family has no pipeline for such an edit.
        """
        if not job.images:
            return self.base
        kind = "edit" if self.card.edit_pipeline and job.strength is None else "vary"
        kind = "inpaint" if job.mask is not None else kind
        if kind not in self._siblings:
            self._siblings[kind] = self._sibling(kind)
        return self._siblings[kind]

    def close(self) -> None:
        """Give the modules their own entry points back."""
        for entry in self.entries:
            entry.unpark()

    def _sibling(self, kind: str) -> Any:
        if kind == "edit":
            assert self.card.edit_pipeline
            return diffusers_class(self.card.edit_pipeline).from_pipe(self.base)
        auto = AutoPipelineForInpainting if kind == "inpaint" else AutoPipelineForImage2Image
        try:
            return auto.from_pipe(self.base)
        except ValueError:
            noun = "inpaint" if kind == "inpaint" else "edit images"
            raise UnsupportedValue(
                f"The endpoint `{self.card.id}` cannot {noun}.", param="model"
            ) from None


def load(card: EndpointCard, device: torch.device) -> LoadedPipeline:
    """Load an endpoint's pipeline onto a device.

    Raises:
        CardError: the weights are pickled, missing, or not what the card says.
    """
    with CONSTRUCTION:
        pipeline = _pretrained(card, device)
        _set_scheduler(card, pipeline)
        for lora in card.fused:
            _fuse(card, lora, pipeline)
        for module in modules_of(pipeline.components):
            module.eval().requires_grad_(False)
        _place(card, pipeline, device)
        return LoadedPipeline(card, pipeline, device)


def device_of(card: EndpointCard, default: str) -> torch.device:
    """The device a card names, or the default one, or the fastest there is."""
    name = default if card.device == "auto" else card.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def dtype_of(card: EndpointCard, device: torch.device) -> torch.dtype:
    """The card's dtype; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    if card.dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return DTYPES[card.dtype]


def modules_of(components: dict[str, Any]) -> list[torch.nn.Module]:
    """The modules among a pipeline's components."""
    return [part for part in components.values() if isinstance(part, torch.nn.Module)]


def size_bytes(components: dict[str, Any]) -> int:
    """Bytes of the weights of a pipeline's modules."""
    tensors = (
        tensor for module in modules_of(components) for tensor in module.state_dict().values()
    )
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def diffusers_class(name: str) -> Any:
    """A class of diffusers by its name.

    Raises:
        CardError: diffusers has none.
    """
    found = getattr(diffusers, name, None)
    if found is None:
        raise CardError(f"diffusers {diffusers.__version__} has no class '{name}'")
    return found


def _pretrained(card: EndpointCard, device: torch.device) -> Any:
    location = card.location
    if Path(location).is_dir():
        _refuse_pickles(card, Path(location))
    kind = diffusers_class(card.pipeline) if card.pipeline else DiffusionPipeline
    try:
        return kind.from_pretrained(
            location,
            revision=card.revision,
            variant=card.variant,
            torch_dtype=dtype_of(card, device),
            use_safetensors=True,
            low_cpu_mem_usage=card.low_memory,
        )
    except (OSError, ValueError, EnvironmentError) as error:
        raise CardError(f"{card.path}: cannot load '{card.source}': {error}") from error


def _refuse_pickles(card: EndpointCard, folder: Path) -> None:
    for pickle in sorted([*folder.glob("*/*.bin"), *folder.glob("*/*.ckpt"), *folder.glob("*/*.pt")]):
        if not list(pickle.parent.glob("*.safetensors")):
            raise CardError(
                f"{card.path}: {pickle}: pickled weights are refused; wanted .safetensors"
            )


def _set_scheduler(card: EndpointCard, pipeline: Any) -> None:
    if card.scheduler is None:
        return
    kind = diffusers_class(card.scheduler.cls)
    config = getattr(pipeline.scheduler, "config", {})
    pipeline.scheduler = kind.from_config(config, **card.scheduler.config)


def _fuse(card: EndpointCard, lora: FusedLora, pipeline: Any) -> None:
    local = card.folder / lora.source
    source = str(local) if local.exists() else lora.source
    pipeline.load_lora_weights(
        source, weight_name=lora.weight_name, adapter_name="fused", use_safetensors=True
    )
    pipeline.fuse_lora(lora_scale=lora.scale)
    pipeline.unload_lora_weights()


def _place(card: EndpointCard, pipeline: Any, device: torch.device) -> None:
    if card.offload == "none" or device.type == "cpu":
        pipeline.to(device)
    elif card.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_group_offload(
            onload_device=device, offload_type="leaf_level", use_stream=True
        )
