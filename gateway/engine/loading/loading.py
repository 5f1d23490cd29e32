"""From a card to a pipeline in memory, through diffusers' and accelerate's own loading."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from diffusers.pipelines.auto_pipeline import (
    AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    AUTO_INPAINT_PIPELINES_MAPPING,
    SUPPORTED_TASKS_MAPPINGS,
)

from gateway.catalog.cards import PREVIEWS, CardError, EndpointCard, FusedLora
from gateway.catalog.sources.weights import INDEX, MODULAR, index_file
from gateway.catalog.survey.fitting import Plan
from gateway.catalog.survey.inspection import inspect_files
from gateway.engine.adapters.adapters import Adapters
from gateway.engine.adapters.beside import Beside
from gateway.engine.loading.construction import CONSTRUCTION
from gateway.engine.loading.offloading import at_work_bytes, bytes_of, has_hooks, place
from gateway.engine.pipelines.call import known_arguments
from gateway.engine.pipelines.inpainting import admit_latent_channels
from gateway.engine.pipelines.modular import is_modular, load_modular, redrawing
from gateway.engine.pipelines.parking import METHODS, Entry, SampleGreenlet, StillTo, entries_of
from gateway.engine.pipelines.reading import set_aside, take_back, tokenizers_of
from gateway.engine.pipelines.schedulers import card_scheduler
from gateway.engine.pipelines.settled import settle, unsettle
from gateway.engine.pipelines.shared import share
from gateway.engine.pipelines.weighting import check_weighting
from gateway.engine.weights.files import Origin, in_small_letters
from gateway.engine.weights.parts import load_parts
from gateway.engine.weights.unusable import reason_of
from gateway.errors import UnsupportedValue
from gateway.fetching.fetching import lora_file
from gateway.job import Job

for library in (diffusers.utils, transformers.utils):
    library.logging.disable_progress_bar()

HOST_PIXELS = 2**18
"""That a CPU encodes or decodes at once: more take no less time each, and memory for all."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SIBLINGS = {
    "vary": (AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, "Img2ImgPipeline"),
    "inpaint": (AUTO_INPAINT_PIPELINES_MAPPING, "InpaintPipeline"),
}
"""Per kind of edit: diffusers' table by family, and how such a class is named beside it."""


class LoadedPipeline:
    """A pipeline in memory, its entry points parked, and its siblings for edits.

    `origin` is what it was read from, `plan` how it was placed, and `used_bytes` the most of its
    device that it was seen to take; `previews` decodes unfinished pictures, where a card has
    named such an autoencoder.
    """

    def __init__(
        self,
        card: EndpointCard,
        pipeline: Any,
        device: torch.device,
        previews: torch.nn.Module | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.card = card
        self.plan = plan
        self.base = pipeline
        self.device = device
        self.origin = Origin()
        self.previews = previews
        self._components = pipeline.components | ({PREVIEWS: previews} if previews else {})
        self.entries: list[Entry] = entries_of(self._components)
        self.size_bytes = size_bytes(self._components)
        self.at_work_bytes = at_work_bytes(modules_of(self._components))
        self.used_bytes = self.at_work_bytes
        for entry in self.entries:
            entry.is_invariant = card.batch_invariant
            entry.tiles_from = plan.tiles_from if plan else card.tiles_from
            entry.tile_shrink = plan.tile_shrink if plan else 1
            entry.pixels_at_once = self._worthwhile_pixels(entry)
            is_whole = isinstance(entry.module, diffusers.ModelMixin) and entry.method != "encode"
            if is_whole and not has_hooks(entry.module):
                entry.lane = card.compile
        compiled = {entry.component for entry in self.entries if entry.lane != "none"}
        self.beside = Beside(pipeline.components, compiled)
        self._siblings: dict[str, Any] = {}
        self._still = [
            StillTo(name, module)
            for name, module in self._components.items()
            if isinstance(module, torch.nn.Module)
        ]
        for entry in (*self.entries, *self._still):
            entry.park()
        self._tokenizers = tokenizers_of(pipeline.components)
        for tokenizer in self._tokenizers:
            set_aside(tokenizer)
        share(modules_of(self._components))
        settle(modules_of(self._components))
        self.runs_alone = False
        """Whether one sample at a time uses it: its pipeline's call changes a module."""

    @property
    def preview_parts(self) -> dict[str, Any]:
        """What stands in the place of the pipeline's own parts where a preview is decoded."""
        if self.previews is None:
            return {}
        decoders = (one.component for one in self.entries if one.is_last)
        return {next(decoders): self.previews}

    @property
    def planned_bytes(self) -> int:
        """What it was planned to take of its device; its weights where nothing was planned."""
        return self.plan.size_bytes if self.plan else self.size_bytes

    @property
    def adapters(self) -> Adapters:
        """The adapters in memory."""
        return self.beside.adapters

    def pipeline_for(self, job: Job, names: Sequence[str] = ()) -> Any:
        """The pipeline that runs a job: the base, or one built from the same modules.

        `names` are those, in memory, of what the job is drawn with besides.

        Raises:
            UnsupportedValue: the family has no pipeline for such an edit, or for ControlNets.
        """
        return self.beside.around(self._pipeline_for(job), names, job.controls)

    def _pipeline_for(self, job: Job) -> Any:
        if not job.images:
            return self.base
        kind = "edit" if self.card.edit_pipeline and job.strength is None else "vary"
        kind = "inpaint" if job.mask is not None else kind
        if kind != "edit" and "mask_image" in known_arguments(self.base):
            return self.base
        if kind not in self._siblings:
            self._siblings[kind] = self._sibling(kind)
        return self._siblings[kind]

    def give(self, left_bytes: int) -> None:
        """Have no forward take more than what is left for work."""
        for entry in self.entries:
            cost = self.plan.costs.get(entry.component) if self.plan else None
            if cost is not None and cost.pixel_bytes:
                fitting, worthwhile = cost.pixels(left_bytes), self._worthwhile_pixels(entry)
                entry.pixels_at_once = min(fitting, worthwhile or fitting)

    def _worthwhile_pixels(self, entry: Entry) -> int | None:
        return HOST_PIXELS if self.device.type == "cpu" and entry.method in METHODS else None

    def rest(self) -> None:
        """Move what offloading left on the device back to the host; nothing runs."""
        for hook in getattr(self.base, "_all_hooks", ()):
            hook.offload()

    def close(self) -> None:
        """Give the modules their own entry points and layers back."""
        for name in self.beside.names:
            self.beside.drop(name)
        self.beside.adapters.close()
        for entry in (*self.entries, *self._still):
            entry.unpark()
        for tokenizer in self._tokenizers:
            take_back(tokenizer)
        unsettle(modules_of(self._components))

    def _sibling(self, kind: str) -> Any:
        if is_modular(type(self.base)):
            if (own := redrawing(self.base, masked=kind == "inpaint")) is None:
                raise self._cannot(kind)
            return own
        if kind == "edit":
            assert self.card.edit_pipeline
            found = diffusers_class(self.card.edit_pipeline)
        else:
            found = _sibling_class(type(self.base).__name__, *SIBLINGS[kind])
        if found is None:
            raise self._cannot(kind)
        # Named one by one, since it drops a module of another class than its own hint, such
        # as a tiny autoencoder. It casts modules to float32, which a sample cannot.
        expected, _ = found._get_signature_keys(found)
        modules = {name: part for name, part in self.base.components.items() if name in expected}
        sibling = SampleGreenlet(lambda: found.from_pipe(self.base, **modules)).switch()
        sibling.set_progress_bar_config(disable=True)
        if kind == "inpaint":
            admit_latent_channels(sibling)
        return sibling

    def _cannot(self, kind: str) -> UnsupportedValue:
        noun = "repaint a masked part" if kind == "inpaint" else "edit images"
        return UnsupportedValue(f"The endpoint `{self.card.id}` cannot {noun}.", param="model")


def load(card: EndpointCard, device: torch.device, plan: Plan | None = None) -> LoadedPipeline:
    """Load an endpoint's pipeline from this disk onto a device, as it was planned.

    Raises:
        CardError: the weights are pickled, missing, or not what the card says; or there is no
            such device.
    """
    _check_device(card, device)
    inspect_files(card)
    with CONSTRUCTION:
        pipeline, previews = _pretrained(card, device)
        for lora in card.fused:
            _fuse(card, lora, pipeline)
    pipeline.set_progress_bar_config(disable=True)
    own = getattr(pipeline, "scheduler", None)
    if own is not None and (scheduler := card_scheduler(card, own)) is not own:
        pipeline.scheduler = scheduler
    _check_whole(card, pipeline)
    for module in modules_of(pipeline.components | {PREVIEWS: previews}):
        module.eval().requires_grad_(False)
    _widen_autoencoder(pipeline)
    place(card, pipeline, device, plan)
    _place_previews(card, pipeline, previews, device)
    _check_arguments(card, pipeline)
    check_weighting(card, pipeline, known_arguments(pipeline))
    return LoadedPipeline(card, pipeline, device, previews, plan)


def _check_device(card: EndpointCard, device: torch.device) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        said = next(iter(reason_of(error).split(". ")), "")
        raise CardError(f"the device '{device}' cannot be used: {said}", card.path) from None


def dtype_of(card: EndpointCard, device: torch.device) -> torch.dtype:
    """The dtype of an endpoint's card on a device."""
    return dtype_called(card.dtype, device)


def dtype_called(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a name; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name == "float16" and device.type == "cpu":
        # No CPU computes in half precision: it would be slower, and not smaller at work.
        return torch.float32
    return DTYPES[name]


def modules_of(components: dict[str, Any]) -> list[torch.nn.Module]:
    """The modules among a pipeline's components."""
    return [part for part in components.values() if isinstance(part, torch.nn.Module)]


def size_bytes(components: dict[str, Any]) -> int:
    """Bytes of the weights of a pipeline's modules."""
    tensors = (
        tensor for module in modules_of(components) for tensor in module.state_dict().values()
    )
    return sum(map(bytes_of, tensors))


def diffusers_class(name: str) -> Any:
    """A class of diffusers by its name.

    Raises:
        CardError: diffusers has none.
    """
    found = getattr(diffusers, name, None)
    if found is None:
        raise CardError(f"diffusers {diffusers.__version__} has no class '{name}'")
    return found


def _pipeline_class(card: EndpointCard) -> Any:
    return diffusers_class(card.pipeline) if card.pipeline else DiffusionPipeline


def _pretrained(card: EndpointCard, device: torch.device) -> tuple[Any, Any]:
    """A card's pipeline, and what decodes its previews where that is another autoencoder."""
    index = index_file(card)
    if index is None:
        raise CardError(f"key 'source' = {card.source!r}: there is no {INDEX}", card.path)
    _refuse_pickles(card, index.parent)
    parts = load_parts(card, functools.partial(dtype_called, device=device))
    previews = parts.pop(PREVIEWS, None)
    given = {
        "variant": card.variant,
        "dtype": dtype_of(card, device),
        "use_safetensors": True,
        "low_cpu_mem_usage": card.low_memory,
    }
    try:
        if index.name == MODULAR:
            return load_modular(card, str(index.parent), parts, **given), previews
        kind = _pipeline_class(card)
        return kind.from_pretrained(str(index.parent), **given, **parts), previews
    except (OSError, ValueError) as error:
        raise CardError(f"cannot load '{card.source}': {error}", card.path) from error


def _refuse_pickles(card: EndpointCard, folder: Path) -> None:
    for kind in ("bin", "ckpt", "pt", "pth"):
        for pickle in sorted(folder.glob(f"*/*.{kind}")):
            if not list(pickle.parent.glob("*.safetensors")):
                raise CardError(
                    f"{pickle}: pickled weights are refused; wanted .safetensors", card.path
                )


def _fuse(card: EndpointCard, lora: FusedLora, pipeline: Any) -> None:
    file = lora_file(card, lora)
    if file is None:
        raise CardError(f"key 'fused': {lora.source} is not on this disk", card.path)
    with in_small_letters(file) as read:
        pipeline.load_lora_weights(
            str(read.parent), weight_name=read.name, adapter_name="fused", use_safetensors=True
        )
    pipeline.fuse_lora(lora_scale=lora.scale)
    pipeline.unload_lora_weights()


def _check_whole(card: EndpointCard, pipeline: Any) -> None:
    """See that every module got all of its weights from the files.

    Raises:
        CardError: some stayed without.
    """
    for part, module in pipeline.components.items():
        weights = module.state_dict() if isinstance(module, torch.nn.Module) else {}
        if lacking := [name for name, weight in weights.items() if weight.is_meta]:
            more = f" and {len(lacking) - 1} more" if lacking[1:] else ""
            raise CardError(f"{part}: its files lack the weights '{lacking[0]}'{more}", card.path)


def _widen_autoencoder(pipeline: Any) -> None:
    """Keep an autoencoder in float32 that overflows in half precision.

    Its pipeline would cast it around every use, which calls that share it cannot do.
    """
    autoencoder = pipeline.components.get("vae")
    config = getattr(autoencoder, "config", {})
    if getattr(autoencoder, "dtype", None) == torch.float16 and config.get("force_upcast"):
        autoencoder.to(torch.float32)


def _check_arguments(card: EndpointCard, pipeline: Any) -> None:
    known = known_arguments(pipeline)
    at_steps = (name for given in card.arguments_at.values() for name in given)
    for name in (*card.unset, *card.arguments, *at_steps):
        if name not in known:
            raise CardError(
                f"key 'arguments': {type(pipeline).__name__} takes no '{name}'", card.path
            )


def _sibling_class(name: str, table: Any, ending: str) -> Any:
    """The class of a pipeline's family for another task; None where diffusers has none."""
    for task in SUPPORTED_TASKS_MAPPINGS:
        for family, kind in task.items():
            if kind.__name__ == name and family in table:
                return table[family]
    return getattr(diffusers, name.removesuffix("Pipeline") + ending, None)


def _place_previews(card: EndpointCard, pipeline: Any, previews: Any, device: torch.device) -> None:
    """Have what decodes previews on a device; it is small, and stays there.

    Raises:
        CardError: it decodes nothing like the pipeline's latents.
    """
    if previews is None:
        return
    own = next((part for part in modules_of(pipeline.components) if hasattr(part, "decode")), None)
    ours, theirs = (_latent_channels(part) for part in (previews, own))
    if not hasattr(previews, "decode") or theirs is None:
        raise CardError("key 'previews': wanted an autoencoder for one that has one", card.path)
    if ours not in (None, theirs):
        raise CardError(
            f"key 'previews': it decodes latents of {ours} channels, not of {theirs}", card.path
        )
    previews.to(device)


def _latent_channels(autoencoder: Any) -> int | None:
    config = getattr(autoencoder, "config", {})
    return config.get("latent_channels", config.get("z_dim"))
