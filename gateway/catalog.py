"""Cards: the TOML files that declare endpoints and adapters, and the ids they answer to.

`models/` holds `<id>.toml` or `<folder>/card.toml` (weights beside the card);
`adapters/<endpoint>/` holds `<route>.toml`, `<route>/card.toml`, or a bare
`<route>.safetensors` that needs no card.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway.errors import ModelNotFound
from gateway.job import Matting

Positive = Annotated[int, Meta(ge=1)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=128)]
Route = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
CARD = "card.toml"


class CardError(Exception):
    """A card cannot be used; the message names file, key, value and what was wanted."""


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


class EndpointCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One endpoint.

    `source` is a hub id or a path relative to the card. `pipeline` names a diffusers class
    where `model_index.json` should not decide; `edit_pipeline` one that edits images by
    instruction. `arguments` are extra keyword arguments of the pipeline's call, `unset`
    those passed as None, `arguments_at` those for one number of steps only.
    `matting` is how a transparent background is cut out, where the pictures' own is plain.
    `aliases` are checkpoint file names that mean this endpoint in a workflow graph.
    """

    id: Identifier
    source: str = "."
    description: str = ""
    licence: str = "unknown"
    homepage: str | None = None
    revision: str | None = None
    variant: str | None = None
    pipeline: str | None = None
    edit_pipeline: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: str = "auto"
    offload: Literal["none", "model", "group"] = "none"
    low_memory: bool = True
    steps: Steps = Steps()
    guidance: Guidance = Guidance()
    sizes: Sizes = Sizes()
    scheduler: Scheduler | None = None
    fused: tuple[FusedLora, ...] = ()
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    unset: tuple[str, ...] = ()
    arguments_at: dict[int, dict[str, Any]] = msgspec.field(default_factory=dict)
    edits: bool = True
    matting: Matting | None = None
    aliases: tuple[str, ...] = ()
    path: Path | None = None
    """The card's own file; set on loading, not written by hand."""

    @property
    def location(self) -> str:
        """The local folder of the weights where there is one, else the hub id."""
        local = self.folder / self.source
        return str(local.resolve()) if local.exists() else self.source

    def call_arguments(self, num_inference_steps: int) -> dict[str, Any]:
        """Extra keyword arguments of the pipeline's call at a number of steps."""
        unset = dict.fromkeys(self.unset)
        return unset | self.arguments | self.arguments_at.get(num_inference_steps, {})

    @property
    def folder(self) -> Path:
        """Where the card lies."""
        return self.path.parent if self.path else Path.cwd()

    @property
    def is_local(self) -> bool:
        """Whether `source` is a path rather than a hub id."""
        return (self.folder / self.source).exists()


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
    def file(self) -> Path | None:
        """The local safetensors file, or None where `source` is a hub id."""
        local = (self.path.parent if self.path else Path.cwd()) / self.source
        return local.resolve() if local.exists() else None


class Model(msgspec.Struct, frozen=True):
    """What a model id means: an endpoint, and an adapter of it where the id names one."""

    endpoint: EndpointCard
    adapter: AdapterCard | None = None

    @property
    def id(self) -> str:
        """The canonical id."""
        return self.adapter.id if self.adapter else self.endpoint.id


class Catalog(msgspec.Struct, frozen=True):
    """The endpoints and adapters that can be asked for.

    `adapters` is keyed by `(endpoint id, route)`; `aliases` maps an id a client may send
    (`dall-e-3`) to one of ours.
    """

    endpoints: dict[str, EndpointCard]
    adapters: dict[tuple[str, str], AdapterCard]
    aliases: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def default(self) -> EndpointCard:
        """The endpoint that answers a request naming no model: the first one served."""
        return next(iter(self.endpoints.values()))

    def resolve(self, model_id: str) -> Model:
        """Find what an id means: exact first, else the longest endpoint id before a colon.

        Raises:
            ModelNotFound: the message names the endpoints, or the routes, that exist.
        """
        model_id = self.aliases.get(model_id, model_id)
        if model_id in self.endpoints:
            return Model(self.endpoints[model_id])
        prefixes = [id for id in self.endpoints if model_id.startswith(f"{id}:")]
        if not prefixes:
            raise ModelNotFound(
                f"The model `{model_id}` does not exist. "
                f"Models served here: {_listed(self.endpoints)}."
            )
        endpoint = self.endpoints[max(prefixes, key=len)]
        return Model(endpoint, self.adapter(endpoint.id, model_id[len(endpoint.id) + 1 :]))

    def adapter(self, endpoint_id: str, route: str) -> AdapterCard:
        """The adapter at a route of an endpoint.

        Raises:
            ModelNotFound: the message names the routes that exist.
        """
        try:
            return self.adapters[endpoint_id, route]
        except KeyError:
            routes = self.routes(endpoint_id)
            raise ModelNotFound(
                f"The endpoint `{endpoint_id}` has no adapter `{route}`. "
                f"Its adapters: {_listed(routes) if routes else 'none'}."
            ) from None

    def find_adapter(self, endpoint_id: str, name: str) -> AdapterCard:
        """The adapter a client means: by route, by model id, or by a file name on its card.

        Raises:
            ModelNotFound: the message names the routes that exist.
        """
        route = name.removeprefix(f"{endpoint_id}:")
        for (owner, _), card in self.adapters.items():
            if owner == endpoint_id and name in card.aliases:
                return card
        return self.adapter(endpoint_id, route)

    def routes(self, endpoint_id: str) -> list[str]:
        """The adapter routes of an endpoint, sorted."""
        return sorted(route for owner, route in self.adapters if owner == endpoint_id)

    def models(self) -> list[Model]:
        """Every endpoint followed by each of its adapters."""
        found = []
        for endpoint in self.endpoints.values():
            found.append(Model(endpoint))
            found += [
                Model(endpoint, self.adapters[endpoint.id, route])
                for route in self.routes(endpoint.id)
            ]
        return found

    def served(self, ids: tuple[str, ...], aliases: dict[str, str]) -> "Catalog":
        """The part of this catalogue that a server was asked to serve, in that order.

        Raises:
            CardError: an id, or an alias's target, is not in the catalogue.
        """
        for endpoint_id in ids:
            if endpoint_id not in self.endpoints:
                raise CardError(
                    f"no card for endpoint '{endpoint_id}'; cards: {_listed(self.endpoints)}"
                )
        part = Catalog(
            {endpoint_id: self.endpoints[endpoint_id] for endpoint_id in ids},
            {key: card for key, card in self.adapters.items() if key[0] in ids},
            aliases,
        )
        for alias, target in aliases.items():
            try:
                part.resolve(target)
            except ModelNotFound as error:
                raise CardError(f"alias '{alias}': {error.message}") from None
        return part


def load_catalog(models: tuple[Path, ...], adapters: tuple[Path, ...]) -> Catalog:
    """Read every card under the given folders; a later folder's card wins over an earlier one's.

    Raises:
        CardError: a card is malformed, or a file is not where its card says.
    """
    endpoints: dict[str, EndpointCard] = {}
    for folder in models:
        endpoints.update((card.id, card) for card in _endpoint_cards(folder))
    found: dict[tuple[str, str], AdapterCard] = {}
    for folder in adapters:
        found.update(((card.endpoint, card.route), card) for card in _adapter_cards(folder))
    return Catalog(endpoints, found)


def _endpoint_cards(folder: Path) -> list[EndpointCard]:
    cards = [_read(path, EndpointCard) for path in sorted(folder.glob("*.toml"))]
    for inner in sorted(path for path in folder.glob("*/") if path.is_dir()):
        if (inner / CARD).exists():
            cards.append(_read(inner / CARD, EndpointCard))
        elif (inner / "model_index.json").exists():
            cards.append(EndpointCard(id=inner.name, path=inner / CARD))
    return cards


def _adapter_cards(folder: Path) -> list[AdapterCard]:
    cards = []
    for path in sorted([*folder.glob("*/*.toml"), *folder.glob(f"*/*/{CARD}")]):
        card = _read(path, AdapterCard)
        owner = path.relative_to(folder).parts[0]
        if card.endpoint.replace("/", "--") != owner:
            raise CardError(
                f"{path}: key 'endpoint': '{card.endpoint}' lies in the folder of '{owner}'"
            )
        cards.append(card)
    described = {card.file for card in cards} | {card.id for card in cards}
    for path in sorted(folder.glob("*/*.safetensors")):
        endpoint = path.parent.name.replace("--", "/")
        if path.resolve() not in described and f"{endpoint}:{path.stem}" not in described:
            cards.append(
                AdapterCard(endpoint=endpoint, route=path.stem, source=path.name, path=path)
            )
    return cards


Card = TypeVar("Card", EndpointCard, AdapterCard)


def _read(path: Path, kind: type[Card]) -> Card:
    try:
        card = msgspec.toml.decode(path.read_bytes(), type=kind)
    except msgspec.ValidationError as error:
        raise CardError(_explained(path, error)) from None
    except msgspec.DecodeError as error:
        raise CardError(f"{path}: not valid TOML: {error}") from None
    if card.path is not None:
        raise CardError(f"{path}: key 'path' is not one to write")
    _check(path, card)
    return msgspec.structs.replace(card, path=path)


def _explained(path: Path, error: msgspec.ValidationError) -> str:
    """The fault with its key and value: msgspec says what was wanted and at which key."""
    wanted, _, at = str(error).partition(" - at `$")
    key = at.rstrip("`").lstrip(".")
    value: Any = msgspec.toml.decode(path.read_bytes())
    for part in key.replace("[", ".[").split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.strip("[]").isdigit():
            value = value[int(part.strip("[]"))]
    shown = f" = {value!r}" if key else ""
    return f"{path}: key '{key or 'top level'}'{shown}: {wanted}"


def _check(path: Path, card: EndpointCard | AdapterCard) -> None:
    if isinstance(card, EndpointCard):
        steps = card.steps
        if not steps.min <= steps.default <= steps.max:
            raise CardError(
                f"{path}: key 'steps.default' = {steps.default}: "
                f"wanted between steps.min {steps.min} and steps.max {steps.max}"
            )
        if ":" in card.id:
            raise CardError(f"{path}: key 'id' = {card.id!r}: wanted no colon")
        return
    low, high = card.scale_range
    if not low <= card.scale <= high:
        raise CardError(
            f"{path}: key 'scale' = {card.scale}: wanted within scale_range [{low}, {high}]"
        )
    if not card.source.endswith(".safetensors") and (path.parent / card.source).is_file():
        raise CardError(
            f"{path}: key 'source' = {card.source!r}: wanted a .safetensors file; "
            "pickled weights are refused"
        )


def _listed(ids: object) -> str:
    assert hasattr(ids, "__iter__")
    return ", ".join(f"`{id}`" for id in ids)
