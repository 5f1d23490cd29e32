"""From a request for runs to the orders of each: what to draw, inputs, batches, seeds."""

import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.collection import Collection
from gateway.errors import InvalidRequest, InvalidType, MissingParameter, NotFound, OutOfRange
from gateway.images.darkroom import Darkroom
from gateway.outside.documents import decode_json
from gateway.outside.guard import Guard
from gateway.outside.parameters import MAX_SEED
from gateway.outside.spelling import is_absent, whole
from gateway.runs.drawing.planning import plan_of
from gateway.runs.graph.bounds import MAX_BYTES, MAX_NESTING, Bounds, nesting
from gateway.runs.graph.compile import compile_graph
from gateway.runs.graph.externals import substitute
from gateway.runs.graph.order import check_form
from gateway.runs.graph.plain import plain
from gateway.runs.graph.seeds import settle
from gateway.runs.library.carried import Carried
from gateway.runs.library.library import Library
from gateway.runs.library.uploads import Uploads
from gateway.runs.pools import check_pool, check_volume
from gateway.runs.records import Order
from gateway.settings import Settings

SEED_BITS = 32
MAX_ALL_BYTES = 64 * 2**20
"""Of all runs of a request as they are stored: as much as a request may have itself."""

Inputs = dict[str, Any]
Permit = Callable[[Model], None]
"""Raises where a key may not use a model."""

Allow = Callable[[int], Awaitable[None]]
"""Raises where a request may not make so many runs."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one run or a batch, whichever body it came in.

    What to draw is the first that is given of: a version, a graph, a workflow's latest
    version, a deployment, a model. `batch_number` repeats; `batch_input_params` gives every
    combination of its values, the last key varying fastest, and wins over the former.
    """

    order: Order
    workflow_version_id: str | None = None
    graph: Any = None
    workflow_id: str | None = None
    deployment_id: str | None = None
    model_id: str | None = None
    inputs: Inputs = msgspec.field(default_factory=dict)
    batch_number: int | None = None
    batch_input_params: dict[str, list[Any]] | None = None


class Ordering:
    """Turns requests into orders, or refuses them."""

    def __init__(
        self,
        settings: Settings,
        collection: Collection,
        library: Library,
        uploads: Uploads,
        darkroom: Darkroom,
    ) -> None:
        self.settings = settings
        self.collection = collection
        self.library = library
        self.uploads = uploads
        self.darkroom = darkroom
        self.guard = Guard(settings.url_allow)

    @property
    def catalog(self) -> Catalog:
        """What can be asked for now."""
        return self.collection.now()

    async def orders(
        self, wanted: Wanted, owner: str, permit: Permit, allow: Allow | None = None
    ) -> list[Order]:
        """The orders of a request, each of them checked; nothing is kept of one that is refused.

        Raises:
            Forbidden: the key may not use a model that it needs.
            NotFound: a version, workflow, deployment or model that does not exist.
            GraphRefused: the graph cannot run.
            InvalidRequest: anything else about it.
            GatewayError: what `allow` raises.
        """
        if wanted.order.webhook is not None:
            self.guard.check_url(wanted.order.webhook)
        wanted = await self.library.in_thread(_plain, wanted)
        target = await self._target(wanted, owner)
        carried = Carried(owner, self.darkroom)
        wanted, target = await self.darkroom.do(_lightened, wanted, target, carried)
        orders = await self.library.in_thread(self._expanded, wanted, target, permit, carried)
        await carried.check()
        if allow is not None:
            await allow(len(orders))
        await carried.keep(self.uploads)
        return orders

    async def check_graph(self, graph: Any) -> dict[str, Any]:
        """The graph in API format, as it is stored; one that could not be drawn is refused.

        Raises:
            GraphRefused: with every fault found.
            InvalidRequest: a picture in it is not whole.
        """
        bounds = Bounds.of(self.settings)
        carried = Carried("", self.darkroom)
        graph = (await self.library.in_thread(_plain, Wanted(order=Order(), graph=graph))).graph
        await self.library.in_thread(compile_graph, graph, self.catalog, bounds, carried.size)
        await carried.check()
        found: dict[str, Any] = graph
        return found

    async def _target(self, wanted: Wanted, owner: str) -> Order:
        """The order with what it draws, before any input."""
        order = wanted.order
        if wanted.workflow_version_id:
            version = await self.library.version(wanted.workflow_version_id, owner)
            if version is None:
                raise NotFound(f"Workflow version {wanted.workflow_version_id} not found")
            return msgspec.structs.replace(
                order,
                graph=version.graph,
                workflow_id=version.workflow_id,
                workflow_version_id=version.id,
            )
        if wanted.graph:
            return msgspec.structs.replace(
                order, graph=wanted.graph, workflow_id=wanted.workflow_id
            )
        if wanted.workflow_id:
            return await self._latest(order, wanted.workflow_id, owner)
        if wanted.deployment_id:
            return await self._deployed(order, wanted.deployment_id, owner)
        if wanted.model_id:
            return self._model(order, wanted.model_id)
        raise MissingParameter("deployment_id")

    async def _latest(self, order: Order, workflow_id: str, owner: str) -> Order:
        """SDKs strip the graph they are given; the stored one stands in for it."""
        workflow = await self.library.workflow(workflow_id, owner)
        if workflow is None or not workflow.versions[0].graph:
            raise NotFound(f"Workflow API not found: no workflow {workflow_id} is stored")
        version = workflow.versions[0]
        return msgspec.structs.replace(
            order, graph=version.graph, workflow_id=workflow_id, workflow_version_id=version.id
        )

    async def _deployed(self, order: Order, deployment_id: str, owner: str) -> Order:
        """A stored deployment, or a model, each of which is deployed under its own id."""
        order = msgspec.structs.replace(order, deployment_id=deployment_id)
        deployment = await self.library.deployment(deployment_id, owner)
        if deployment is None:
            try:
                return self._model(order, deployment_id)
            except NotFound:
                raise NotFound(f"Deployment {deployment_id} not found") from None
        version = await self.library.version(deployment.workflow_version_id, owner)
        assert version is not None
        return msgspec.structs.replace(
            order,
            graph=version.graph,
            workflow_id=deployment.workflow_id,
            workflow_version_id=version.id,
            machine_id=order.machine_id or deployment.machine_id,
        )

    def _model(self, order: Order, model_id: str) -> Order:
        model = self.catalog.resolve(model_id)
        return msgspec.structs.replace(order, model_id=model.pinned_id, workflow_id=model.id)

    def _expanded(
        self, wanted: Wanted, target: Order, permit: Permit, carried: Carried
    ) -> list[Order]:
        """Every run of the batch. Repetitions differ in nothing but seeds: one is checked."""
        repeats = wanted.batch_input_params is None
        found: list[Order] = []
        num_samples, num_bytes = 1, 0
        for offset, overlay in enumerate(_overlays(wanted, self.settings.max_run_batch)):
            inputs = wanted.inputs | overlay
            order = _settled(target, inputs, offset if repeats else 0)
            num_bytes += _size(order)
            if num_bytes > MAX_ALL_BYTES:
                most = MAX_ALL_BYTES >> 20
                raise InvalidRequest(
                    f"The batch's inputs come to over {most} MiB.", param="batch_number"
                )
            if not found or not repeats:
                num_samples = self._check_plan(order, permit, carried)
            found.append(msgspec.structs.replace(order, num_samples=num_samples))
        return found

    def _check_plan(self, order: Order, permit: Permit, carried: Carried) -> int:
        """The most samples that one of its jobs has; raises where it cannot be drawn."""
        catalog = self.catalog
        drafts = plan_of(order, catalog, self.settings, carried.size).drafts
        cards = [catalog.endpoints[draft.endpoint] for draft in drafts]
        for card, draft in zip(cards, drafts, strict=True):
            adapters = [catalog.adapter(card.id, use.route) for use in draft.adapters]
            for model in [Model(card, adapter) for adapter in adapters] or [Model(card)]:
                permit(model)
        check_pool(order, cards, self.settings)
        check_volume(order, cards, self.settings)
        return max((len(draft.seeds) for draft in drafts), default=1)


def _lightened(wanted: Wanted, target: Order, carried: Carried) -> tuple[Wanted, Order]:
    """A request without its long pictures, in what it draws and in what it fills in."""
    replace, lightened = msgspec.structs.replace, carried.lightened
    params = lightened(wanted.batch_input_params)
    wanted = replace(wanted, inputs=lightened(wanted.inputs), batch_input_params=params)
    return wanted, replace(target, graph=lightened(target.graph))


def _settled(order: Order, inputs: Inputs, offset: int) -> Order:
    """The order with its inputs filled in and its seeds drawn."""
    if order.graph is None:
        seed = inputs.get("seed")
        seed = -1 if is_absent(seed) else _integer("seed", seed)
        seed = ((_draw() if seed == -1 else seed) + offset) % (MAX_SEED + 1)
        return msgspec.structs.replace(order, inputs=inputs | {"seed": seed})
    check_form(order.graph)
    graph, _ = settle(substitute(order.graph, inputs), _draw, offset)
    return msgspec.structs.replace(order, graph=graph, inputs=inputs)


def _draw() -> int:
    return random.getrandbits(SEED_BITS)


def _overlays(wanted: Wanted, ceiling: int) -> list[Inputs]:
    """What each run of a batch changes of the inputs.

    Raises:
        InvalidRequest: more runs than the ceiling, naming their number; or none.
    """
    params = wanted.batch_input_params
    if params is None:
        count = 1 if wanted.batch_number is None else wanted.batch_number
        if count < 1:
            raise OutOfRange("batch_number", "integer", 1, count, above=False)
        _check_count(count, ceiling, "batch_number")
        return [{} for _ in range(count)]
    empty = [name for name, values in params.items() if not values]
    if empty or not params:
        raise InvalidRequest("A batch over no values has no runs.", param="batch_input_params")
    count = 1
    for values in params.values():
        _check_count(count := count * len(values), ceiling, "batch_input_params")
    combinations = itertools.product(*params.values())
    return [dict(zip(params, values, strict=True)) for values in combinations]


def _plain(wanted: Wanted) -> Wanted:
    """The request with its graph in API format; what nests too deep to be read is refused.

    Raises:
        InvalidRequest: naming the field.
        GraphRefused: the graph is in the editor's format, and not to be made sense of.
    """
    given = {
        "workflow_api": wanted.graph,
        "inputs": wanted.inputs,
        "batch_input_params": wanted.batch_input_params,
    }
    for param, value in given.items():
        if nesting(value) > MAX_NESTING:
            raise InvalidRequest(f"It is nested over {MAX_NESTING} levels deep.", param=param)
    return msgspec.structs.replace(wanted, graph=plain(wanted.graph))


def _size(order: Order) -> int:
    """The bytes of an order as it is stored.

    Raises:
        InvalidRequest: its inputs have too many.
    """
    if len(msgspec.json.encode(order.inputs)) > MAX_BYTES:
        most = MAX_BYTES >> 20
        raise InvalidRequest(f"The inputs have over {most} MiB, pictures apart.", param="inputs")
    return len(msgspec.json.encode(order))


def _check_count(count: int, ceiling: int, param: str) -> None:
    if count > ceiling:
        raise InvalidRequest(
            f"The batch would be {count} runs; this gateway takes up to {ceiling} at once.",
            param=param,
        )


def merged_inputs(inputs: Mapping[str, Any] | None, inputs_json: str | None) -> Inputs:
    """The inputs of both fields; the object wins over the text.

    Raises:
        InvalidRequest: the text is not a JSON object.
    """
    text = json_object(inputs_json, "inputs_json") if inputs_json else {}
    return {**(text or {}), **(inputs or {})}


def json_object(value: Any, param: str) -> dict[str, Any] | None:
    """An object, or JSON text of one; None where it is empty.

    Raises:
        InvalidRequest: it is something else.
    """
    if isinstance(value, str):
        value = decode_json(value.encode()) if value.strip() else None
    if not value:
        return None
    if not isinstance(value, dict):
        raise InvalidType(param, "an object", type(value).__name__)
    return value


def _integer(param: str, value: Any) -> int:
    try:
        return whole(value)
    except ValueError:
        raise InvalidType(param, "an integer", type(value).__name__) from None
