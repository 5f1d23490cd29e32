"""What flows along a graph's links while it is compiled: descriptions, never tensors."""

import math
from typing import Any

import msgspec

from gateway.catalog.cards import EndpointCard
from gateway.job import AdapterUse, Matting
from gateway.remarks import Remark

MAX_IMAGES = 64
"""Pictures of one batch: each is held in memory until the run's end."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model: the endpoints its file may mean, the adapters on it, its sampling.

    `candidates` narrows as LoRAs are stacked: several endpoints may share a checkpoint's
    name and differ in what is fused into them. `pins` are the digests that were asked for, by
    model id.
    """

    candidates: tuple[EndpointCard, ...]
    adapters: tuple[AdapterUse, ...] = ()
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    pins: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def card(self) -> EndpointCard:
        """The endpoint it means."""
        return self.candidates[0]


class Clip(msgspec.Struct, frozen=True):
    """Text encoders; `type` is the loader's word for the family, `stop_at` the last layer used."""

    type: str | None = None
    stop_at: int = -1


class ControlNet(msgspec.Struct, frozen=True):
    """A ControlNet by a file's name, or by its route, and the node that said so.

    `mode` is what kind of pictures it is shown, by number, where it reads several.
    """

    node_id: str
    name: str
    mode: int | None = None


class Control(msgspec.Struct, frozen=True):
    """A ControlNet that is shown a picture, from one part of the steps to another."""

    net: ControlNet
    picture: "Picture"
    scale: float
    start: float = 0.0
    end: float = 1.0


class Conditioning(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with what else its encoder was told; a zeroed one has no prompt.

    `references` are the pictures that an edit pipeline looks at, `controls` what is shown to
    ControlNets.
    """

    prompt: str | None
    clip: Clip = Clip()
    guidance: float | None = None
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    references: "tuple[Picture, ...]" = ()
    controls: tuple[Control, ...] = ()


class Resize(msgspec.Struct, frozen=True, tag="resize", kw_only=True):
    """Scale to a size, a factor, a number of pixels, or by one edge; 0 keeps the aspect."""

    method: str
    width: int = 0
    height: int = 0
    factor: float | None = None
    megapixels: float | None = None
    longer: int = 0
    shorter: int = 0
    multiple_of: int = 1
    crop: bool = False

    def target(self, width: float, height: float) -> tuple[int, int]:
        """The size, in whole units, that a picture of this size is brought to."""
        if self.factor is not None:
            width, height = width * self.factor, height * self.factor
        elif self.megapixels is not None:
            factor = math.sqrt(self.megapixels * 1024 * 1024 / (width * height))
            width, height = width * factor, height * factor
        elif self.longer or self.shorter:
            edge = max(width, height) if self.longer else min(width, height)
            factor = (self.longer or self.shorter) / edge
            width, height = width * factor, height * factor
        elif self.width or self.height:
            aspect = width / height
            width = self.width or self.height * aspect
            height = self.height or self.width / aspect
        unit = self.multiple_of
        return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)


class Invert(msgspec.Struct, frozen=True, tag="invert"):
    """Swap light and dark."""


class Crop(msgspec.Struct, frozen=True, tag="crop"):
    """The part of a picture that begins at `x`, `y`, no further than its edges."""

    x: int
    y: int
    width: int
    height: int

    def target(self, width: float, height: float) -> tuple[int, int]:
        """The size of the part, of a picture of this size."""
        left, top = min(self.x, width - 1), min(self.y, height - 1)
        return int(min(self.width, width - left)), int(min(self.height, height - top))


class Pad(msgspec.Struct, frozen=True, tag="pad", kw_only=True):
    """Grey around a picture, transparent, so that it is what a mask by alpha leaves open.

    Over `feather` pixels inside a padded edge the picture grows transparent.
    """

    left: int
    top: int
    right: int
    bottom: int
    feather: int

    def target(self, width: float, height: float) -> tuple[int, int]:
        """The size with what is put around."""
        return int(width + self.left + self.right), int(height + self.top + self.bottom)


class Edges(msgspec.Struct, frozen=True, tag="edges"):
    """White lines where brightness changes by over `high`, and where they go on over `low`."""

    low: float
    high: float


Change = Resize | Invert | Crop | Pad | Edges


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """A picture from outside: an uploaded file's name, a URL or a data URL."""

    source: str


class Rendered(msgspec.Struct, frozen=True, tag="rendered"):
    """The pictures that draft number `draft` makes."""

    draft: int


class Gathered(msgspec.Struct, frozen=True, tag="gathered"):
    """Several pictures as one batch, at the size of the first."""

    pictures: tuple["Picture", ...]


Origin = Loaded | Rendered | Gathered


class Picture(msgspec.Struct, frozen=True):
    """Where pictures come from and what is done to them, in order.

    `size` is `(width, height)` in pixels, where it is known before they are there.
    """

    origin: Origin
    changes: tuple[Change, ...] = ()
    num_images: int = 1
    size: tuple[int, int] | None = None

    def then(self, change: Change) -> "Picture":
        """The same pictures with one more change."""
        size = _size_after(change, self.size)
        return Picture(self.origin, (*self.changes, change), self.num_images, size)

    @property
    def num_changes(self) -> int:
        """What is done to all of them together."""
        parts = self.origin.pictures if isinstance(self.origin, Gathered) else ()
        before = sum(picture.num_changes for picture in parts)
        return before + self.num_images * len(self.changes)


def size_after(change: Change, size: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture after a change."""
    return size if isinstance(change, Invert | Edges) else change.target(*size)


def _size_after(change: Change, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The same as far as it is known: what is scaled to both edges may have been of any size."""
    if size is None and not (isinstance(change, Resize) and change.width and change.height):
        return None
    return size_after(change, size or (1, 1))


class Mask(msgspec.Struct, frozen=True):
    """One channel of a picture: where it is high is redrawn. `grow` is in pixels.

    The alpha channel is read inverted: what is transparent is redrawn.
    """

    picture: Picture
    channel: str = "alpha"
    grow: int = 0


class Latent(msgspec.Struct, frozen=True, kw_only=True):
    """What a sampler starts from: emptiness of a size, or a picture, maybe masked.

    Of one that `is_empty` the picture tells the size alone, which is known once it is there.
    `node_id` is the node that said so, for faults found later.
    """

    node_id: str
    width: int = 0
    height: int = 0
    picture: Picture | None = None
    mask: Mask | None = None
    num_images: int = 1
    is_empty: bool = False


class Edge(msgspec.Struct, frozen=True):
    """The `width` or `height` of a picture that is not there yet."""

    picture: Picture
    name: str


class Sigmas(msgspec.Struct, frozen=True):
    """A noise schedule, and the node that said so."""

    node_id: str
    scheduler: str
    steps: int
    denoise: float = 1.0


class Guider(msgspec.Struct, frozen=True):
    """A model with what it is guided by; without `cfg` there is no negative."""

    model: Model
    positive: Conditioning
    negative: Conditioning | None = None
    cfg: float = 1.0


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be: complete but for the pixels of its pictures.

    `width` and `height` 0 mean those of `canvas`, which is drawn over entirely, or without one
    of `picture`, which is what is redrawn. A `picture` that is several is redrawn one by one,
    each by its own seed. Without `strength` it is only looked at by an edit pipeline, as are
    the `references` beside it. With `fits` a picture beyond the card's sizes is scaled into
    them. `num_inference_steps` are run, whatever `strength` is. `node_id` and `class_type` are
    the sampler's.
    """

    node_id: str
    class_type: str
    endpoint: str
    prompt: str
    num_inference_steps: int
    seeds: tuple[int, ...]
    width: int = 0
    height: int = 0
    adapters: tuple[AdapterUse, ...] = ()
    pins: dict[str, str] = msgspec.field(default_factory=dict)
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    picture: Picture | None = None
    references: tuple[Picture, ...] = ()
    canvas: Picture | None = None
    mask: Mask | None = None
    controls: tuple[Control, ...] = ()
    fits: bool = False
    strength: float | None = None
    matting: Matting | None = None
    scheduler: str | None = None
    scheduler_config: dict[str, Any] = msgspec.field(default_factory=dict)
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An output node: which pictures it takes and how it writes them.

    A `temporary` one (PreviewImage) is reported only where its order says so.
    """

    node_id: str
    class_type: str
    picture: Picture
    prefix: str = "ComfyUI"
    file_type: str = "png"
    quality: int = 95
    output_id: str | None = None
    temporary: bool = False


class Plan(msgspec.Struct, frozen=True):
    """A compiled graph: jobs in the order they can run, and where their pictures go.

    `notes` say what was read more freely than it was written.
    """

    drafts: tuple[Draft, ...]
    outputs: tuple[Output, ...]
    notes: tuple[Remark, ...] = ()
