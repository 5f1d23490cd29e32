"""The catalogue: which endpoints and adapters there are, and the ids they answer to."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.catalog.cards import (
    AdapterCard,
    CardError,
    ControlCard,
    EmbeddingCard,
    EndpointCard,
)
from gateway.catalog.samplers import (
    CLASSES,
    SAMPLERS,
    SPACINGS,
    Choice,
    choose,
    classes_of,
    is_likely,
    samplers_of,
)
from gateway.catalog.survey.adapters import bundled_cards
from gateway.errors import InvalidValue, ModelNotFound
from gateway.job import Job

PIN = re.compile(r"@([^@:]*)")
"""The digest of weights that an id asks for; no card's id or route has such a sign."""

RunsScheduler = Callable[[str, str | None, Mapping[str, Any]], bool | None]
"""Whether an endpoint's model takes a scheduler class; None while that cannot be known."""

Heard = Callable[[str], Abilities | None]
"""What an endpoint's pipeline can hear of a request; None while that cannot be known."""


class Model(msgspec.Struct, frozen=True):
    """What a model id means: an endpoint, and an adapter of it where the id names one.

    `pins` are the digests of the weights it asks for, by canonical id.
    """

    endpoint: EndpointCard
    adapter: AdapterCard | None = None
    pins: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The canonical id."""
        return self.adapter.id if self.adapter else self.endpoint.id

    @property
    def pinned_id(self) -> str:
        """The id with the digests it asks for."""
        parts = [self.endpoint.id] + ([self.adapter.id] if self.adapter else [])
        named = [f"{id}@{self.pins[id]}" if id in self.pins else id for id in parts]
        return ":".join([named[0], *(name.removeprefix(f"{parts[0]}:") for name in named[1:])])


class Catalog(msgspec.Struct, frozen=True):
    """The endpoints and adapters that can be asked for.

    `adapters`, `controls` and `embeddings` are keyed by `(endpoint id, route)`; `aliases` maps
    an id a client may send (`dall-e-3`), or a pattern of such ids (`gpt-image-*`), to one of
    ours. `tried` and `heard` are what an engine found out of their models. What is not found
    here is looked for in the one that `renewed` gives. `broken` are the cards that cannot be
    read, by the model id that each would have: they stand among the others with nothing of what
    they say. `passed_over` is what lies in the folders and is none.
    """

    endpoints: dict[str, EndpointCard]
    adapters: dict[tuple[str, str], AdapterCard]
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    tried: RunsScheduler | None = None
    heard: Heard | None = None
    renewed: "Callable[[], Catalog] | None" = None
    broken: dict[str, CardError] = msgspec.field(default_factory=dict)
    passed_over: tuple[CardError, ...] = ()
    controls: dict[tuple[str, str], ControlCard] = msgspec.field(default_factory=dict)
    embeddings: dict[tuple[str, str], EmbeddingCard] = msgspec.field(default_factory=dict)

    @property
    def default(self) -> EndpointCard:
        """The endpoint that answers a request naming no model: the first one served.

        Raises:
            ModelNotFound: there is none.
        """
        for card in self.endpoints.values():
            return card
        raise ModelNotFound("No model is served here.")

    def runs_scheduler(self, endpoint: str, name: str | None, config: Mapping[str, Any]) -> bool:
        """Whether a model takes a scheduler class, None for its own, with more config.

        As tried by an engine, or likely by its names while its files are not here.
        """
        known = self.tried(endpoint, name, config) if self.tried else None
        return is_likely(self.endpoint(endpoint), name, config) if known is None else known

    def abilities(self, endpoint: str) -> Abilities:
        """What an endpoint's pipeline can hear of a request, as far as that is known."""
        return (self.heard(endpoint) if self.heard else None) or Abilities({}, ())

    def scheduler(self, endpoint: str, name: str | None) -> Choice:
        """A sampler by the field's name, or a scheduler class, in any case; None is its own.

        Behind a sampler's name and a slash may be a spacing, `dpmpp_2m/karras`.

        Raises:
            InvalidValue: the model cannot be sampled so; the message names what it takes.
        """
        if not name:
            return Choice(None)
        runs, sampler = partial(self.runs_scheduler, endpoint), name.strip().lower()
        sampler, _, spacing = sampler.partition("/")
        is_known = sampler in SAMPLERS and (not spacing or spacing in SPACINGS)
        choice = choose(sampler, spacing or None, runs) if is_known else None
        if choice is not None:
            return choice
        cls = next((cls for cls in CLASSES if cls.lower() == sampler), name.strip())
        if not runs(cls, {}):
            offered = ", ".join(f"'{each}'" for each in self.schedulers(endpoint))
            raise InvalidValue("scheduler", name, offered)
        return Choice(cls)

    def schedulers(self, endpoint: str) -> list[str]:
        """What a request's `scheduler` may be: samplers, then classes of diffusers."""
        runs = partial(self.runs_scheduler, endpoint)
        return [*samplers_of(runs), *classes_of(runs)]

    def resolve(self, model_id: str) -> Model:
        """Find what an id means: exact first, else the longest endpoint id before a colon.

        `@digest` after an endpoint's or adapter's part asks for exactly those weights.

        Raises:
            ModelNotFound: the message names the endpoints, or the routes, that exist.
        """
        model_id = self.aliases.get(model_id, model_id)
        if model_id in self.endpoints:
            return Model(self.endpoints[model_id])
        prefixes = [id for id in self.endpoints if model_id.startswith(f"{id}:")]
        routes = ((id, model_id.removeprefix(f"{id}:")) for id in prefixes)
        if "@" in model_id and not any(key in self.adapters for key in routes):
            return self._resolve_pinned(model_id)
        if not prefixes and (newer := self._newer()) is not self:
            return newer.resolve(model_id)
        if not prefixes and (target := self._by_pattern(model_id)):
            # A target that is gone may fit a pattern itself.
            return msgspec.structs.replace(self, aliases={}).resolve(target)
        endpoint = self.endpoint(max(prefixes, key=len, default=model_id))
        return Model(endpoint, self.adapter(endpoint.id, model_id[len(endpoint.id) + 1 :]))

    def _resolve_pinned(self, model_id: str) -> Model:
        model = self.resolve(PIN.sub("", model_id))
        pins: dict[str, str] = {}
        for pin in PIN.finditer(model_id):
            names_adapter = model.adapter and pin.end() == len(model_id)
            pins[model.id if names_adapter else model.endpoint.id] = pin[1].lower()
        return msgspec.structs.replace(model, pins=pins)

    def endpoint(self, endpoint_id: str) -> EndpointCard:
        """The endpoint of an id.

        Raises:
            ModelNotFound: the message names those that exist.
        """
        if endpoint_id in self.endpoints:
            return self.endpoints[endpoint_id]
        if (newer := self._newer()) is not self:
            return newer.endpoint(endpoint_id)
        also = f" Aliases: {_listed(self.aliases)}." if self.aliases else ""
        raise ModelNotFound(
            f"The model `{endpoint_id}` does not exist. "
            f"Models served here: {_listed(self.endpoints)}.{also}"
        )

    def adapter(self, endpoint_id: str, route: str) -> AdapterCard:
        """The adapter at a route of an endpoint.

        Raises:
            ModelNotFound: the message names the routes that exist.
        """
        if (endpoint_id, route) in self.adapters:
            return self.adapters[endpoint_id, route]
        if (newer := self._newer()) is not self:
            return newer.adapter(endpoint_id, route)
        routes = self.routes(endpoint_id)
        raise ModelNotFound(
            f"The endpoint `{endpoint_id}` has no adapter `{route}`. "
            f"Its adapters: {_listed(routes) if routes else 'none'}."
        )

    def beside(self, job: Job) -> "list[tuple[str, AdapterCard | None]]":
        """The ids of what a job is drawn with beside its endpoint, with cards; None if gone.

        Adapters come first, then ControlNets, each in the job's order.
        """
        owner = job.endpoint
        adapters = [(owner, use.route) for use in job.adapters]
        controls = [(owner, use.route) for use in job.controls]
        return [
            *((":".join(key), self.adapters.get(key)) for key in adapters),
            *((":controlnet/".join(key), self.controls.get(key)) for key in controls),
            *((card.id, card) for card in self._embeddings_in(job)),
        ]

    def keys_beside(self) -> set[tuple[str, str]]:
        """The keys of all cards of what lies beside endpoints."""
        cards = (self.adapters.values(), self.controls.values(), self.embeddings.values())
        found = {card.key for each in cards for card in each}
        bundled = (bundled_cards(card) for card in self.adapters.values())
        return found | {card.key for each in bundled for card in each}

    def _embeddings_in(self, job: Job) -> list[EmbeddingCard]:
        """Those whose word a prompt of a job says; an adapter's own go before others."""
        text = f"{job.prompt}\n{job.negative_prompt or ''}"
        adapters = (self.adapters.get((job.endpoint, use.route)) for use in job.adapters)
        bundled = (bundled_cards(card) for card in adapters if card)
        own = (card for (owner, _), card in self.embeddings.items() if owner == job.endpoint)
        said = {
            card.route.lower(): card
            for card in chain(own, *bundled)
            if re.search(rf"(?<!\w){re.escape(card.route)}(?!\w)", text, re.IGNORECASE)
        }
        return list(said.values())

    def words(self, endpoint_id: str) -> list[str]:
        """The words of an endpoint's textual inversions."""
        return sorted(word for owner, word in self.embeddings if owner == endpoint_id)

    def spoken(self, endpoint_id: str, text: str) -> str:
        """A prompt in which `embedding:word` is the word alone, where an endpoint knows it."""
        words = "|".join(re.escape(word) for word in self.words(endpoint_id))
        mark = rf"\bembedding:(?=(?:{words})(?!\w))" if words else r"(?!)"
        return re.sub(mark, "", text, flags=re.IGNORECASE)

    def controls_of(self, endpoint_id: str) -> list[str]:
        """The routes of an endpoint's ControlNets."""
        return sorted(route for owner, route in self.controls if owner == endpoint_id)

    def control(self, endpoint_id: str, name: str | None, param: str) -> ControlCard:
        """The ControlNet a client means; the only one where it names none.

        Raises:
            InvalidValue: there is none of this name, or none at all.
        """
        routes = self.controls_of(endpoint_id)
        if name is None and len(routes) == 1:
            name = routes[0]
        if name not in routes:
            offered = ", ".join(f"'{route}'" for route in routes)
            raise InvalidValue(param, name or "", offered or "none on this endpoint")
        return self.controls[endpoint_id, str(name)]

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

    def models_beside(self) -> list[Model]:
        """What endpoints have beside their adapters, which no id asks for."""
        return [
            Model(self.endpoints[card.endpoint], card)
            for card in (*self.controls.values(), *self.embeddings.values())
            if card.endpoint in self.endpoints
        ]

    def aliased(self) -> list[tuple[str, Model]]:
        """Every alias that is an id, with the model it means, but for those whose model is gone."""
        found = []
        for alias, target in self.aliases.items():
            with suppress(ModelNotFound):
                if "*" not in alias:
                    found.append((alias, self.resolve(target)))
        return found

    def meaning(self, model_id: str) -> str | None:
        """What an id stands for that is an alias, or fits one's pattern; None for others."""
        if model_id in self.endpoints:
            return self.aliases.get(model_id)
        return self.aliases.get(model_id) or self._by_pattern(model_id)

    def _by_pattern(self, model_id: str) -> str | None:
        """The target of the most particular pattern that an id fits."""
        fits = [alias for alias in self.aliases if "*" in alias and fnmatchcase(model_id, alias)]
        return self.aliases[max(fits, key=len)] if fits else None

    def _newer(self) -> "Catalog":
        return self.renewed() if self.renewed else self

    def served(self, ids: Sequence[str], aliases: dict[str, str]) -> "Catalog":
        """The part of this catalogue that is served under some ids, in that order.

        Raises:
            CardError: an id, or an alias's target, is not in the catalogue.
        """
        for id in ids:
            if id not in self.endpoints:
                raise CardError(f"no card for endpoint '{id}'; cards: {_listed(self.endpoints)}")
        part = self.part(ids, aliases)
        for alias, target in aliases.items():
            try:
                part.resolve(target)
            except ModelNotFound as error:
                raise CardError(f"alias '{alias}': {error.message}") from None
        return part

    def part(self, ids: Sequence[str], aliases: dict[str, str]) -> "Catalog":
        """The same of those that there are."""
        cards = {id: self.endpoints[id] for id in ids if id in self.endpoints}
        adapters = {key: card for key, card in self.adapters.items() if key[0] in cards}
        return msgspec.structs.replace(
            self,
            endpoints=cards,
            adapters=adapters,
            controls={key: card for key, card in self.controls.items() if key[0] in cards},
            embeddings={key: card for key, card in self.embeddings.items() if key[0] in cards},
            aliases=aliases,
            renewed=None,
        )


def _listed(ids: object) -> str:
    assert hasattr(ids, "__iter__")
    return ", ".join(f"`{id}`" for id in ids)
