"""How an endpoint fits into a device's memory, told before anything of it is loaded.

Weights are known from the heads of files. What their work takes beside them is estimated by
how wide layers are and how many positions they have; measured on the largest tensors that live
at once in UNets, transformers and autoencoders of the families in the catalogue, with room for
what kernels take themselves. No torch, no clock.
"""

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import Literal, NamedTuple

import msgspec

from gateway.catalog.cards import EndpointCard
from gateway.catalog.survey.memory import Kind, Part, Role

GIB, MIB, KIB = 2**30, 2**20, 2**10

LIVING, DECODED, DECODED_DEEP = 32, 8, 20
"""Tensors as wide as a part that live at once, with as many positions: of a denoiser or an
encoder, and of an autoencoder without and with time. 16 to 31, 6 and 18 were found."""

NUM_TOKENS = 512
"""A prompt as long as text encoders read."""

NUM_INVARIANT = 8
"""Calls that a forward has where pictures are to be the same to the bit."""

SHRINKS = (1, 2, 4)
"""By how much an autoencoder's tiles may be made smaller."""

_ROUND = 64

Verdict = Literal["fits", "may not fit", "cannot fit"]


class Bound(NamedTuple):
    """What an endpoint may take of a device, in bytes.

    `most_bytes` is what it might get if nobody else took any: beyond that it is told to be of no
    use. `host_bytes` is for what is moved off the device, `reserved_bytes` what the device's own
    driver takes of the bound. Without `can_move` nothing is moved off, or stored in float8.
    """

    size_bytes: int
    most_bytes: int
    host_bytes: int | None = None
    reserved_bytes: int = 0
    can_move: bool = True


class Form(msgspec.Struct, frozen=True):
    """What is done for an endpoint to take less: from what costs least to what costs most.

    `streamed` is what is brought to the device layer by layer, `swapped` whether parts take
    turns on it, `shrunk` whether weights are stored in float8.
    """

    tiled: bool = False
    streamed: tuple[Role, ...] = ()
    shrunk: bool = False
    swapped: bool = False


TEXT: tuple[Role, ...] = ("text",)
EVERYTHING: tuple[Role, ...] = ("text", "denoiser", "autoencoder")
FORMS = (
    Form(),
    Form(tiled=True),
    Form(tiled=True, streamed=TEXT),
    Form(tiled=True, streamed=EVERYTHING),
    Form(tiled=True, streamed=TEXT, shrunk=True),  # where the host's memory is what lacks
    Form(tiled=True, streamed=EVERYTHING, shrunk=True),
)
OWN_FORMS = {
    "model": (Form(swapped=True), Form(swapped=True, tiled=True)),
    "group": (Form(streamed=EVERYTHING), Form(streamed=EVERYTHING, tiled=True)),
}
"""What a card says itself."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint is placed on its device, and the bytes it takes there.

    `weights_bytes` stay there; `work_bytes` are what comes on top while it draws one picture.
    Pictures of `tiles_from` pixels and more are decoded in tiles, `tile_shrink` times smaller
    than the autoencoder's own. `names` are the parts that are `streamed` by name, `shrunk` those
    to store in float8.
    """

    verdict: Verdict
    form: Form
    bound_bytes: int
    weights_bytes: int
    work_bytes: int
    certain_bytes: int
    host_bytes: int
    tiles_from: int | None
    tile_shrink: int
    tile_edge: int
    streamed: frozenset[str]
    shrunk: frozenset[str]
    costs: dict[str, "Cost"]

    @property
    def size_bytes(self) -> int:
        """All that it takes."""
        return self.weights_bytes + self.work_bytes

    def __str__(self) -> str:
        return f"{self.verdict}: {self._placed}"

    @property
    def foretold(self) -> str:
        """The same of weights that are to be fetched."""
        if self.verdict == "cannot fit":
            return f"does not fit: {self.reason}"
        return f"will fit: {self._placed}" if self.verdict == "fits" else str(self)

    @property
    def _placed(self) -> str:
        """What it takes of what it may, and what is done for that."""
        unit, name = (GIB, "GiB") if max(self.bound_bytes, self.size_bytes) >= GIB else (MIB, "MiB")
        taken, bound = (f"{size / unit:.1f}" for size in (self.size_bytes, self.bound_bytes))
        done = ", ".join(_said(self)) or "all on the device"
        return f"{taken} of {bound.removesuffix('.0')} {name}: {done}"

    @property
    def reason(self) -> str:
        """Why it is of no use, and what would help."""
        least, bound = (-(-size // MIB) for size in (self.certain_bytes, self.bound_bytes))
        return (
            f"its weights alone take {least:,} MiB of memory at once, whatever is moved off the "
            f"device, and it may have {bound:,}: wanted memory of {-(-self.size_bytes // MIB):,} "
            "MiB or more, or files of smaller weights, such as a GGUF"
        )


class Cost(NamedTuple):
    """What a part's work takes: for each layer at hand, and for each pixel of each sample."""

    at_hand_bytes: int
    pixel_bytes: float

    def pixels(self, left_bytes: int) -> int:
        """How many pixels fit into what is left."""
        left = max(0, left_bytes - self.at_hand_bytes)
        return int(left / self.pixel_bytes) if self.pixel_bytes else left


def fit(
    card: EndpointCard, parts: Sequence[Part], kind: Kind, bound: Bound, beside_bytes: int = 0
) -> Plan:
    """The first form in which an endpoint fits; the smallest where it fits in none."""
    free = [form for form in FORMS if bound.can_move or not (form.streamed or form.shrunk)]
    forms = OWN_FORMS.get(card.offload, free) if kind == "gpu" else free
    plans = [_Fitting(card, parts, kind, bound, beside_bytes, form).plan() for form in forms]
    found = next((plan for plan in plans if plan.verdict == "fits"), None)
    return found or min(plans, key=lambda plan: plan.size_bytes)


class _Fitting:
    """One form of one endpoint."""

    def __init__(
        self,
        card: EndpointCard,
        parts: Sequence[Part],
        kind: Kind,
        bound: Bound,
        beside_bytes: int,
        form: Form,
    ) -> None:
        self.card = card
        self.parts = parts
        self.kind = kind
        self.bound = bound
        self.form = form
        self.streamed = [part for part in parts if part.role in form.streamed and part.can_stream]
        stay = [] if form.swapped else [part for part in parts if part not in self.streamed]
        self.weights = bound.reserved_bytes + sum(map(self._size, stay))
        self.base = self.weights + beside_bytes
        self.costs = {part.name: self._cost(part) for part in parts}

    def plan(self) -> Plan:
        """All that follows."""
        native, most = _pixels(self.card)
        decoders = [part for part in self.parts if part.role == "autoencoder"]
        limit = min((self.costs[one.name].pixels(self.left) for one in decoders), default=most)
        tiles_from, decoded = self.card.tiles_from, most
        if tiles_from is not None:
            decoded = min(most, tiles_from - 1)
        elif self.form.tiled and limit < most:
            decoded = native if limit >= native else _rounded(limit)
            tiles_from = decoded + 1
        tile = max((one.tile for one in decoders), default=0)
        shrink = 1
        if tiles_from is not None:
            fitting = (s for s in SHRINKS if (tile // s) ** 2 <= max(decoded, limit))
            shrink = next(fitting, SHRINKS[-1]) if self.form.tiled else 1
            decoded = max(decoded, min(most, (tile // shrink) ** 2))
        at = {"autoencoder": decoded, "denoiser": native, "text": 0}
        work = max((self._work(part, at[part.role]) for part in self.parts), default=0)
        certain = self.weights + max((one.at_hand_bytes for one in self.costs.values()), default=0)
        moved = sum(map(self._size, self.parts if self.form.swapped else self.streamed))
        return Plan(
            verdict=self._verdict(self.base + work, certain, moved),
            form=self.form,
            bound_bytes=self.bound.size_bytes,
            weights_bytes=self.base,
            work_bytes=work,
            certain_bytes=certain,
            host_bytes=moved,
            tiles_from=tiles_from,
            tile_shrink=shrink,
            tile_edge=tile // shrink,
            streamed=frozenset(part.name for part in self.streamed),
            shrunk=frozenset(
                part.name for part in self.parts if self.form.shrunk and part.can_shrink
            ),
            costs=self.costs,
        )

    @property
    def left(self) -> int:
        """Bytes for work."""
        return self.bound.size_bytes - self.base

    def _verdict(self, needed: int, certain: int, moved: int) -> Verdict:
        has_host = self.bound.host_bytes is None or moved <= self.bound.host_bytes
        if needed <= self.bound.size_bytes and has_host:
            return "fits"
        return "may not fit" if certain <= self.bound.most_bytes else "cannot fit"

    def _size(self, part: Part) -> int:
        return part.size_bytes(self.kind, shrunk=self.form.shrunk)

    def _work(self, part: Part, pixels: int) -> int:
        cost = self.costs[part.name]
        calls = NUM_INVARIANT if self.card.batch_invariant else 1
        fixed = LIVING * part.width * NUM_TOKENS * part.number_bytes(self.kind)
        own = fixed if part.role == "text" else int(cost.pixel_bytes * pixels)
        return cost.at_hand_bytes + calls * own

    def _cost(self, part: Part) -> Cost:
        at_hand = part.at_hand_bytes(
            self.kind, streamed=part in self.streamed, shrunk=self.form.shrunk
        )
        if self.form.swapped:
            at_hand += self._size(part)
        return Cost(at_hand, self._pixel_bytes(part))

    def _pixel_bytes(self, part: Part) -> float:
        """What a pixel of one sample takes of a part's work."""
        number = part.width * part.number_bytes(self.kind)
        if part.role == "autoencoder":
            return (DECODED_DEEP if part.is_deep else DECODED) * number
        if part.role == "text":
            return 0.0
        scale = max((one.scale for one in self.parts if one.role == "autoencoder"), default=8)
        guidance = self.card.guidance.default
        rows = 2 if guidance is None or guidance > 1 else 1
        return rows * LIVING * number / (scale * part.patch) ** 2


def _pixels(card: EndpointCard) -> tuple[int, int]:
    """Those of the size that a model was made for, and of the largest that it draws."""
    sizes = card.sizes
    native = sizes.native[0] * sizes.native[1]
    if sizes.resample:
        return native, native
    offered = [width * height for width, height in sizes.allowed] or [sizes.max**2]
    return native, max(native, *offered)


def _rounded(pixels: int) -> int:
    """The square that is easily said, within so many pixels."""
    edge = isqrt(max(1, pixels))
    return (edge - edge % _ROUND if edge > _ROUND else edge) ** 2


def _said(plan: Plan) -> Iterator[str]:
    """What is done, in a few words each."""
    if plan.form.swapped:
        yield "parts take turns on the device"
    if plan.streamed:
        yield _of_parts(plan)
    if plan.shrunk:
        yield "stored in float8"
    if plan.tiles_from is not None and plan.tile_edge:
        small = f" in tiles of {plan.tile_edge}²" if plan.tile_shrink > 1 else ""
        yield f"tiled decode above {isqrt(max(0, plan.tiles_from - 1))}²{small}"


def _of_parts(plan: Plan) -> str:
    if plan.form.streamed == EVERYTHING:
        return "all weights offloaded"
    return "text encoders offloaded" if len(plan.streamed) > 1 else "text encoder offloaded"
