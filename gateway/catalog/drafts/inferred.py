"""The card of a folder that has none: what its configs say, and what its names let guess."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from gateway.catalog.cards import EndpointCard, Guidance, Sizes, Steps
from gateway.catalog.heads.endings import WEIGHTS
from gateway.catalog.heads.stock import Stock, stock_of
from gateway.catalog.sources.weights import INDEX, index_in, parts_of

FEW = 10
"""A pipeline or a name that says no more steps than these is of a distilled model."""

USUAL_FEW = 4
MOST_STEPS = 50
USUAL_EDGE = 1024
USUAL_SCALE = 8
SMALLEST_EDGE = 256

_SIGN = re.compile(
    r"turbo|lightning|schnell|(?<![a-z])(?:lcm|klein|hyper|sprint|dmd2?|tcd|scm)(?![a-z])",
    re.IGNORECASE,
)
_NUM_STEPS = re.compile(r"(?<!\d)(\d{1,2})[ _-]?steps?", re.IGNORECASE)
_DISTILLED_SCHEDULERS = ("LCM", "TCD", "SCM")
_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license(?:_name)?: *([^\s#]+)")
_DENOISER = re.compile(r"Transformer|UNet")
_AUTOENCODER = re.compile(r"Autoencoder|VQModel")
_COMPRESSION = ("spatial_compression_ratio", "scale_factor_spatial")
_LEVELS = ("block_out_channels", "encoder_block_out_channels", "dim_mult")

Value = TypeVar("Value")


class Told(NamedTuple, Generic[Value]):
    """A value of a card, why it is that, and whether somebody should look at it."""

    value: Value
    why: str
    is_guess: bool = False


class Inferred(msgspec.Struct, frozen=True):
    """What a card would say, by its keys."""

    steps: Told[Steps]
    guidance: Told[Guidance]
    sizes: Told[Sizes]
    variant: Told[str | None]
    licence: Told[str]

    def card(self, id: str, source: str, path: Path | None) -> EndpointCard:
        """The endpoint that it makes."""
        values = {name: told.value for name, told in msgspec.structs.asdict(self).items()}
        return EndpointCard(id=id, source=source, path=path, **values)


def infer(folder: Path, *names: str) -> Inferred:
    """Look at the configs in a folder in diffusers' format; `names` is what else it is called."""
    return _Folder(folder, names).inferred()


class _Folder:
    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._index_file = index_in(folder) or folder / INDEX
        self._index = decoded(self._index_file)
        self._parts = {part.name: decoded(part / "config.json") for part in self._part_folders()}
        self._pipeline = str(self._index.get("_class_name", ""))
        self._stock: Stock = stock_of(self._pipeline)
        self._denoiser = self._config_of(_DENOISER)
        self._autoencoder = self._config_of(_AUTOENCODER)
        schedulers = (decoded(part / "scheduler_config.json") for part in self._part_folders())
        self._scheduler = next((str(each.get("_class_name")) for each in schedulers if each), "")
        told = (config.get("_name_or_path") for config in (self._index, *self._parts.values()))
        self._names = [*names, self._pipeline, *(str(name) for name in told if name)]

    def inferred(self) -> Inferred:
        sign = self._sign()
        return Inferred(
            steps=self._few_steps(sign) if sign else self._stock_steps(),
            guidance=self._guidance(sign),
            sizes=self._sizes(),
            variant=self._variant(),
            licence=self._licence(),
        )

    def _part_folders(self) -> list[Path]:
        return parts_of(self._index_file)

    def _config_of(self, kind: re.Pattern[str]) -> dict[str, Any]:
        """The config of the first part whose class is of a kind; nothing where there is none."""
        for name, config in self._parts.items():
            library, *classes = self._index[name]
            if library == "diffusers" and kind.search(str(classes[:1])):
                return config
        return {}

    def _sign(self) -> str | None:
        """What says that few steps are enough; None where nothing does."""
        if (is_distilled := self._index.get("is_distilled")) is not None:
            return "is_distilled in its index" if is_distilled else None
        if (self._stock.num_inference_steps or MOST_STEPS) <= FEW:
            return f"the default of {self._pipeline}"
        if self._scheduler.startswith(_DISTILLED_SCHEDULERS):
            return f"its scheduler {self._scheduler}"
        if self._denoiser.get("time_cond_proj_dim") is not None:
            return "time_cond_proj_dim of its denoiser"
        for name in self._names:
            if found := _SIGN.search(name):
                return f"'{found[0]}' in '{name}'"
        return None

    def _few_steps(self, sign: str) -> Told[Steps]:
        for name in self._names:
            if found := _NUM_STEPS.search(name):
                named = max(1, int(found[1]))
                return Told(Steps(1, max(FEW, named), named), f"'{found[0]}' in '{name}'")
        default = self._stock.num_inference_steps or MOST_STEPS
        if default <= FEW:
            return Told(Steps(1, FEW, default), sign)
        return Told(Steps(1, FEW, USUAL_FEW), f"few, by {sign}", is_guess=True)

    def _stock_steps(self) -> Told[Steps]:
        default = self._stock.num_inference_steps
        steps = Steps(1, MOST_STEPS, min(default or MOST_STEPS, MOST_STEPS))
        if default is None:
            return Told(steps, "no pipeline says", is_guess=True)
        return Told(steps, f"{self._pipeline} takes {default} where nothing is said")

    def _guidance(self, sign: str | None) -> Told[Guidance]:
        default = self._stock.guidance_scale
        is_read = bool(
            self._denoiser.get("guidance_embeds") or self._denoiser.get("time_cond_proj_dim")
        )
        few_itself = (self._stock.num_inference_steps or MOST_STEPS) <= FEW
        if default is None:
            return Told(Guidance(), f"{self._pipeline or 'its pipeline'} has no default")
        if sign is None or is_read or few_itself:
            return Told(Guidance(default), f"the default of {self._pipeline}")
        return Told(Guidance(1.0), "none, as for most models of few steps", is_guess=True)

    def _sizes(self) -> Told[Sizes]:
        scale, of_scale = self._scale()
        patch = self._patch()
        multiple = max(1, scale * patch)
        latents, of_latents = self._latents()
        edges = [edge * scale for edge in latents] or [USUAL_EDGE, USUAL_EDGE]
        height, width = (max(1, round(edge / multiple)) * multiple for edge in edges)
        smallest = max(1, min(SMALLEST_EDGE, height, width) // multiple) * multiple
        sizes = Sizes((width, height), smallest, 2 * max(height, width), multiple)
        return Told(sizes, f"{of_latents}; {of_scale}", not (latents and self._autoencoder_known()))

    def _autoencoder_known(self) -> bool:
        return not self._has_autoencoder() or bool(self._autoencoder)

    def _has_autoencoder(self) -> bool:
        return any(
            isinstance(value, list) and len(value) > 1 and _AUTOENCODER.search(str(value[1]))
            for value in self._index.values()
        )

    def _scale(self) -> tuple[int, str]:
        """How many pixels of an edge are one latent."""
        for key in _COMPRESSION:
            if ratio := _number(self._autoencoder.get(key)):
                return ratio, f"{key} of its autoencoder is {ratio}"
        for key in _LEVELS:
            levels = self._autoencoder.get(key)
            if isinstance(levels, list) and 0 < len(levels) <= FEW:
                scale = 2 ** (len(levels) - 1)
                return scale, f"its autoencoder shrinks edges by {scale}"
        if self._parts and not self._has_autoencoder():
            return 1, "it has no autoencoder"
        return USUAL_SCALE, f"its autoencoder may shrink edges by {USUAL_SCALE}"

    def _patch(self) -> int:
        """How many latents of an edge the denoiser takes as one."""
        patch = self._denoiser.get("patch_size", self._denoiser.get("all_patch_size"))
        edge = _number(patch[-1] if isinstance(patch, list) and patch else patch) or 1
        wide = _number(self._denoiser.get("in_channels"))
        deep = _number(self._autoencoder.get("latent_channels", self._autoencoder.get("z_dim")))
        return edge * 2 if wide and deep and wide == 4 * deep else edge

    def _latents(self) -> tuple[list[int], str]:
        """Height and width of the latents it was made for; none where nothing says so."""
        size = self._denoiser.get("sample_size")
        edges = [_number(edge) for edge in (size if isinstance(size, list) else [size, size])]
        if len(edges) == 2 and all(edges):
            return [edge for edge in edges if edge], f"sample_size of its denoiser is {size}"
        if edge := self._stock.sample_size:
            return [edge, edge], f"{self._pipeline} takes {edge} latents where nothing is said"
        return [], "no config says for what size it was made"

    def _variant(self) -> Told[str | None]:
        """The one that a part's weights come in, where they come in no other."""
        for part in self._part_folders():
            variants = {_variant_of(file.name) for file in part.glob(f"*{WEIGHTS}")}
            if variants and "" not in variants:
                return Told(min(variants), f"the weights of '{part.name}' come in no other")
        return Told(None, "its weights need none")

    def _licence(self) -> Told[str]:
        readme = self._folder / "README.md"
        try:
            found = _LICENCE.match(readme.read_text(errors="replace")[: 2**16])
        except OSError:
            found = None
        if found and found[1].isprintable():
            return Told(found[1].strip("\"'"), "README.md says so")
        return Told("unknown", "no README.md says", is_guess=True)


def _variant_of(name: str) -> str:
    """`fp16` of `model.fp16.safetensors` and of `model.fp16-00001-of-00002.safetensors`."""
    inner = name.removesuffix(WEIGHTS).partition(".")[2]
    return re.sub(r"-\d+-of-\d+$", "", inner)


def _number(value: object) -> int | None:
    is_edge = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**14
    return value if is_edge and isinstance(value, int) else None


def decoded(file: Path) -> dict[str, Any]:
    """What a config says; nothing where it cannot be read, which is told elsewhere."""
    try:
        found = json.loads(file.read_bytes())  # has infinities, which msgspec refuses
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
