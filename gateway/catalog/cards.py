"""Cards: the TOML files that declare endpoints and adapters, field by field."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from os.path import exists, realpath
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway.catalog.heads.endings import WEIGHTS, ends
from gateway.errors import shortened
from gateway.job import Matting, Reading
from gateway.settings import DEVICE, MEMORY

Positive = Annotated[int, Meta(ge=1)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=128)]
Route = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
CARD = "card.toml"
MAX_CARD_BYTES = 2**20
REASON_CHARACTERS = 500

_UNKNOWN = re.compile(r"unknown field `(.*)`")
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s'\"/]+/)*(?=[^\s'\"/])")


class CardError(Exception):
    """A card or its files cannot be used; the message names file, key, value and what was wanted.

    `path` is the file's, for the operator; `reason` the rest of it, for those who may not know
    where files lie: one line that names no folder of this machine.
    """

    def __init__(self, reason: str, path: Path | str | None = None) -> None:
        whole = f"{path}: {reason}" if path else reason
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in whole))
        self.path = path
        self.reason = without_folders(reason, path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CardError) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def without_folders(text: str, path: Path | str | None = None) -> str:
    """A text as one line, with no more than the last part of each absolute path.

    The folders of `path` are left out also where their names have spaces.
    """
    for folder in Path(path).absolute().parents[:-1] if path else ():
        text = text.replace(f"{folder}/", "").replace(str(folder), folder.name)
    text = text.encode(errors="backslashreplace").decode()
    return shortened(" ".join(_FOLDERS.sub("", text).split()), REASON_CHARACTERS)


def near(name: str, names: Iterable[str]) -> str:
    """A question for a misspelt name; nothing where none is near."""
    found = get_close_matches(name, sorted(names), 1)
    return f"; did you mean '{found[0]}'?" if found else ""


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Denoising steps an endpoint takes."""

    min: Positive = 1
    max: Positive = 10
    default: Positive = 4


class Guidance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`guidance_scale` an endpoint takes; a distilled model wants its authors' one value."""

    default: float | None = None
    min: float = 0.0
    max: float = 30.0


Quality = Literal["low", "medium", "high", "xhigh", "max"]


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How finely a quality is drawn, where a request does not say the same itself."""

    steps: Positive
    guidance: float | None = None


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Picture sizes in pixels.

    `native` is the `[width, height]` the model was made for. Requested edges must lie in
    `[min, max]` and are rounded to `multiple_of`; with `allowed` only those pairs are
    rendered. With `resample`, any size up to `max` is answered by rendering the nearest
    native aspect and resampling, and the response says so.
    """

    native: tuple[Positive, Positive] = (1024, 1024)
    min: Positive = 256
    max: Positive = 2048
    multiple_of: Positive = 16
    allowed: tuple[tuple[Positive, Positive], ...] = ()
    resample: bool = False


class Scheduler(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"cls": "class"}):
    """A diffusers scheduler class that replaces the pipeline's, with config overrides."""

    cls: str
    config: dict[str, Any] = msgspec.field(default_factory=dict)


class FusedLora(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA fused into the weights at load, such as a few-step distillation."""

    source: str
    weight_name: str | None = None
    scale: float = 1.0


Quantization = Literal[
    "torchao-int8",
    "torchao-float8",
    "quanto-int8",
    "quanto-float8",
    "bitsandbytes-nf4",
    "bitsandbytes-int8",
    "layerwise-float8",
]
"""By whom weights are packed and into what; `layerwise` is diffusers' own storing."""

Dtype = Literal["auto", "float32", "float16", "bfloat16"]


class Component(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"cls": "class"}
):
    """Where one part of an endpoint comes from, and how its weights are kept in memory.

    `source` is a file or folder beside the card or a hub id, and `weight_name` a file in it;
    without them the part is with the others. A folder may be the part's own or a whole pipeline's,
    or have it as `subfolder`. `cls` is a class of diffusers or transformers where neither folder
    nor `model_index.json` should decide, `config` the folder or hub id of its configs.
    """

    source: str | None = None
    weight_name: str | None = None
    subfolder: str | None = None
    revision: str | None = None
    config: str | None = None
    cls: str | None = None
    dtype: Dtype | None = None
    quantized: Quantization | None = None


PREVIEWS = "previews"
"""The part that no pipeline has: what decodes its unfinished pictures."""


class EndpointCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One endpoint.

    `source` is a hub id, or a folder or single file of weights beside the card; `weight_name`
    the single file in a repository. `config` is the folder or hub id whose configs, tokenizers
    and other parts a single file goes with; without it, what its names and shapes tell.
    `components` are parts that come from elsewhere, as a source or in full; false leaves one out.
    `pipeline` names a diffusers class where `model_index.json` should not decide; `edit_pipeline`
    one that edits images by instruction. `arguments` are extra keyword arguments of the pipeline's
    call, `unset` those passed as None, `arguments_at` those for one number of steps only.
    `compile` is how forwards of the denoiser and the decoder get cheaper for the host: `graphs`
    are CUDA's, `regional` compiles the blocks that a model repeats. With `batch_invariant` a
    picture is the same to the bit alone and together, and each forward costs what a full one does.
    `memory` is what it may take of its device (`auto`, `12GiB`), unless as the setting says, and
    `offload` is where that should not decide; no more than `max_batch` samples run at once.
    Pictures of `tiles_from` pixels and more are decoded tile by tile, in less memory.
    `previews` is an autoencoder, a tiny one, that decodes unfinished pictures in the place of the
    pipeline's own; the picture itself is decoded by `components.vae`.
    `matting` is how a transparent background is cut out, where the pictures' own is plain.
    `quality` says what a request's means, `[quality.low]`; without it, it means nothing.
    `prompts = "weighted"` reads prompts of any length, `(word:1.3)` and `BREAK` in them, where all
    text encoders are CLIP's.
    `aliases` are checkpoint file names that mean this endpoint in a workflow graph.
    """

    id: Identifier
    source: str = "."
    description: str = ""
    licence: str = "unknown"
    homepage: str | None = None
    revision: str | None = None
    variant: str | None = None
    weight_name: str | None = None
    config: str | None = None
    components: dict[str, Component | str | bool] = msgspec.field(default_factory=dict)
    previews: Component | str | None = None
    pipeline: str | None = None
    edit_pipeline: str | None = None
    dtype: Dtype = "auto"
    device: Annotated[str, Meta(pattern=DEVICE)] = "auto"
    memory: Annotated[str, Meta(pattern=MEMORY)] | None = None
    max_batch: Positive | None = None
    offload: Literal["none", "model", "group"] = "none"
    low_memory: bool = True
    compile: Literal["none", "graphs", "regional"] = "none"
    batch_invariant: bool = False
    tiles_from: Positive | None = None
    steps: Steps = Steps()
    guidance: Guidance = Guidance()
    quality: dict[Quality, Tier] = msgspec.field(default_factory=dict)
    sizes: Sizes = Sizes()
    scheduler: Scheduler | None = None
    fused: tuple[FusedLora, ...] = ()
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    unset: tuple[str, ...] = ()
    arguments_at: dict[int, dict[str, Any]] = msgspec.field(default_factory=dict)
    edits: bool = True
    prompts: Reading = "plain"
    matting: Matting | None = None
    aliases: tuple[str, ...] = ()
    path: Path | None = None
    """The card's own file; set on loading, not written by hand."""

    @property
    def parts(self) -> dict[str, Component | None]:
        """The parts that come from elsewhere; None for those that are left out."""
        named = self.components | ({PREVIEWS: self.previews} if self.previews else {})
        return {name: _component(given) for name, given in named.items()}

    @property
    def location(self) -> str:
        """The local folder of the weights where there is one, else the hub id."""
        local = self.folder / self.source
        return realpath(local) if exists(local) else self.source

    def call_arguments(self, num_inference_steps: int) -> dict[str, Any]:
        """Extra keyword arguments of the pipeline's call at a number of steps."""
        unset = dict.fromkeys(self.unset)
        return unset | self.arguments | self.arguments_at.get(num_inference_steps, {})

    def quality_at(self, num_inference_steps: int) -> Quality | None:
        """The best quality that so many steps are enough for, or the least; None without any."""
        tiers = sorted(self.quality.items(), key=lambda named: named[1].steps)
        enough = [name for name, tier in tiers if tier.steps <= num_inference_steps]
        return next(reversed(enough), tiers[0][0] if tiers else None)

    @property
    def folder(self) -> Path:
        """Where the card lies."""
        return self.path.parent if self.path else Path.cwd()

    @property
    def is_local(self) -> bool:
        """Whether `source` is a path rather than a hub id."""
        return exists(self.folder / self.source)


def _component(given: Component | str | bool) -> Component | None:
    if isinstance(given, bool):
        return None
    return Component(source=given) if isinstance(given, str) else given


class AdapterCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One LoRA on an endpoint. `source` is a safetensors file beside the card, or a hub id."""

    endpoint: Identifier
    route: Route
    source: str
    weight_name: str | None = None
    revision: str | None = None
    description: str = ""
    licence: str = "unknown"
    scale: float = 1.0
    scale_range: tuple[float, float] = (-4.0, 4.0)
    trigger_words: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    path: Path | None = None
    """The card's own file, or the bare safetensors file; set on loading."""

    @property
    def id(self) -> str:
        """The model id that selects this adapter."""
        return f"{self.endpoint}:{self.route}"

    @property
    def key(self) -> tuple[str, str]:
        """Its endpoint, and its name among all that lies beside that."""
        return self.endpoint, self.id.removeprefix(f"{self.endpoint}:")

    @property
    def file(self) -> Path | None:
        """The local safetensors file, or None where `source` is a hub id."""
        return self.place if exists(self.place) else None

    @property
    def place(self) -> Path:
        """Where the file lies, if `source` is one."""
        return ((self.path.parent if self.path else Path.cwd()) / self.source).absolute()


class ControlCard(AdapterCard, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ControlNet of an endpoint; `source` is a folder as diffusers writes it."""

    @property
    def id(self) -> str:
        """Its name in messages; no model id has a slash after the colon."""
        return f"{self.endpoint}:controlnet/{self.route}"


class EmbeddingCard(AdapterCard, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One textual inversion of an endpoint; its route is the word that asks for it."""

    @property
    def id(self) -> str:
        """Its name in messages; no model id has a slash after the colon."""
        return f"{self.endpoint}:embedding/{self.route}"


Card = TypeVar("Card", EndpointCard, AdapterCard)


def read_card(path: Path, kind: type[Card]) -> Card:
    """Read a card and check what its fields mean together.

    Raises:
        CardError: naming the file, the key, the value and what was wanted.
    """
    text = read_text(path)
    try:
        card = msgspec.toml.decode(text, type=kind)
    except msgspec.ValidationError as error:
        fields = [field.encode_name for field in msgspec.structs.fields(kind)]
        raise CardError(_explained(text, error, fields), path) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CardError(f"not valid TOML: {error}", path) from None
    if card.path is not None:
        raise CardError("key 'path' is not one to write", path)
    _check(path, card)
    return msgspec.structs.replace(card, path=path)


def read_text(path: Path) -> bytes:
    """The text of a card.

    Raises:
        CardError: it is no file, too long for one, or may not be read.
    """
    try:
        if not path.is_file():  # one that leads nowhere, or a pipe that would be waited for
            raise CardError("is no file that can be read", path)
        with path.open("rb") as file:
            text = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise CardError(f"cannot be read: {error.strerror}", path) from None
    if len(text) > MAX_CARD_BYTES:
        raise CardError(f"is no card: it has over {MAX_CARD_BYTES:,} bytes", path)
    return text


def _explained(text: bytes, error: msgspec.ValidationError, fields: Iterable[str]) -> str:
    """The fault with its key and value: msgspec says what was wanted and at which key."""
    wanted, _, at = str(error).partition(" - at `$")
    key = at.rstrip("`").lstrip(".")
    value: Any = msgspec.toml.decode(text)
    for part in key.replace("[", ".[").split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.strip("[]").isdigit():
            value = value[int(part.strip("[]"))]
    if key:
        return f"key '{key}' = {value!r}: {wanted}"
    unknown = _UNKNOWN.search(wanted)
    return f"{wanted}{near(unknown[1], fields) if unknown else ''}"


def _check(path: Path, card: EndpointCard | AdapterCard) -> None:
    if isinstance(card, EndpointCard):
        steps = card.steps
        tiers = {f"quality.{name}.steps": tier.steps for name, tier in card.quality.items()}
        for key, number in {"steps.default": steps.default, **tiers}.items():
            if not steps.min <= number <= steps.max:
                wanted = f"between steps.min {steps.min} and steps.max {steps.max}"
                raise CardError(f"key '{key}' = {number}: wanted {wanted}", path)
        for name, given in card.components.items():
            if given is True:
                raise CardError(f"key 'components.{name}' = True: wanted a source, or false", path)
        if card.compile != "none" and card.offload != "none":
            wanted = "'none' where weights are offloaded"
            raise CardError(f"key 'compile' = '{card.compile}': wanted {wanted}", path)
        return
    low, high = card.scale_range
    if not low <= card.scale <= high:
        wanted = f"within scale_range [{low}, {high}]"
        raise CardError(f"key 'scale' = {card.scale}: wanted {wanted}", path)
    if not ends(card.source, WEIGHTS) and (path.parent / card.source).is_file():
        wanted = "a .safetensors file; pickled weights are refused"
        raise CardError(f"key 'source' = {card.source!r}: wanted {wanted}", path)
