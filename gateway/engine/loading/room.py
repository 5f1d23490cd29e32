"""The memory of one device: what each endpoint is planned to take, and who fits beside whom.

A plan is made as though an endpoint had the device for itself, so that what it draws does not
hang on who else is there; others go where it would be too much together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog
import torch

from gateway.catalog.cards import CardError, EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.heads.endings import WEIGHTS, lying_in
from gateway.catalog.heads.stamps import Stamp, stamps_of
from gateway.catalog.sources.parts import files_of
from gateway.catalog.survey.fitting import GIB, Bound, Plan, fit
from gateway.catalog.survey.memory import Kind, Part, parts_of
from gateway.engine.device.capacity import capacity_of, host_capacity
from gateway.engine.device.chosen import device_of
from gateway.fetching.fetching import Wanted
from gateway.fetching.foreseen import parts_to_come
from gateway.settings import AUTO, Settings
from gateway.telemetry import metrics
from gateway.telemetry.sizes import written_bytes

if TYPE_CHECKING:
    from gateway.engine.loading.loading import LoadedPipeline  # diffusers takes seconds

DRIVER_BYTES = 2**29
"""What CUDA takes of a bound for itself; of what is found to be free it has its part already."""

log = structlog.get_logger()

_Known = tuple[EndpointCard, dict[str, Stamp | None], list[Part]]


class Budget(NamedTuple):
    """What a device's memory is to be taken for: all of it, weights and adapters; 0 is no bound."""

    memory: str = AUTO
    endpoint_gib: float = 0
    adapter_gib: float = 0

    @property
    def endpoint_bytes(self) -> float:
        """Of weights."""
        return self.endpoint_gib * GIB or float("inf")

    @property
    def adapter_bytes(self) -> float:
        """Of what lies beside."""
        return self.adapter_gib * GIB or float("inf")


class Room:
    """Plans for the endpoints of one device; `latest` tells what is served."""

    def __init__(
        self, latest: Callable[[], Catalog], device: torch.device, budget: Budget
    ) -> None:
        self._latest = latest
        self._device = device
        self._memory = budget.memory
        self._endpoint_bytes = budget.endpoint_bytes
        self._beside_bytes = budget.adapter_bytes
        self._parts: dict[str, _Known] = {}
        self._plans: dict[str, tuple[EndpointCard, Plan]] = {}

    @property
    def plans(self) -> dict[str, Plan]:
        """The latest plan of each endpoint that one was made for, if its card is what it was."""
        cards = self._latest().endpoints
        plans = self._plans.copy().items()
        return {id: plan for id, (card, plan) in plans if cards.get(id) == card}

    @property
    def faults(self) -> dict[str, CardError]:
        """Why endpoints are of no use on this device, by id."""
        return {id: fault for id, plan in self.plans.items() if (fault := _fault(plan))}

    def plan(self, card: EndpointCard) -> Plan | None:
        """How an endpoint is to be placed; None where files, or the device, do not tell.

        It is told in the log whenever it is found to have changed.
        """
        try:
            plan = self.foresee(card, self._parts_of(card))
        except CardError:
            return None  # which is told elsewhere
        if plan is None:
            self._plans.pop(card.id, None)
            return None
        before = self._plans.get(card.id)
        self._plans[card.id] = card, plan
        if before is None or (before[1].verdict, before[1].form) != (plan.verdict, plan.form):
            tell = log.info if plan.verdict == "fits" else log.warning
            tell("memory planned", endpoint=card.id, plan=str(plan))
        return plan

    def foresee(self, card: EndpointCard, parts: Sequence[Part]) -> Plan | None:
        """How an endpoint of such parts would be placed; None where they or the device lack."""
        bound = self._bound(card)
        if bound is None or not parts:
            return None
        beside = min(self._beside_bytes, self._bytes_beside(card.id))
        return fit(card, parts, self._kind, bound, int(beside))

    def expect(self, card: EndpointCard, wanted: Sequence[Wanted]) -> None:
        """Tell in the log how an endpoint will fit, before its weights are fetched.

        Raises:
            CardError: it cannot be of use on this device.
        """
        plan = self.foresee(card, parts_to_come(card, wanted))
        if plan is None:
            return
        log.info("memory foreseen", endpoint=card.id, plan=plan.foretold)
        if fault := _fault(plan, card.path):
            raise fault

    def fault(self, card: EndpointCard) -> CardError | None:
        """Why an endpoint cannot be of use on this device, if its weights alone are too much."""
        plan = self.plan(card)
        return _fault(plan, card.path) if plan else None

    def is_for(self, plans: Sequence[Plan]) -> bool:
        """Whether endpoints fit beside one another; one works at a time."""
        taken = sum(plan.weights_bytes for plan in plans)
        return len(plans) < 2 or taken + max(plan.work_bytes for plan in plans) <= self._shared

    def left_bytes(self, own: Plan, plans: Sequence[Plan]) -> int:
        """What is left for an endpoint's work beside the weights of all, its own among them."""
        shared = self._shared - sum(plan.weights_bytes for plan in plans)
        return max(0, int(min(shared, own.bound_bytes - own.weights_bytes)))

    @property
    def weights_bytes(self) -> float:
        """What the weights of endpoints may take together, infinite without a bound."""
        return min(self._endpoint_bytes, self._shared)

    @property
    def beside_bytes(self) -> float:
        """What may lie beside them."""
        return self._beside_bytes

    @contextmanager
    def measured(self, loaded: "LoadedPipeline", others_bytes: int) -> Iterator[None]:
        """Note the most of a GPU's memory that is taken meanwhile, but for what others take."""
        if self._device.type != "cuda":
            yield
            return
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            yield
        finally:
            peak = torch.cuda.max_memory_allocated(self._device)
            loaded.used_bytes = max(loaded.used_bytes, peak - others_bytes)
            tell_memory(loaded)

    @property
    def _kind(self) -> Kind:
        return "cpu" if self._device.type == "cpu" else "gpu"

    @property
    def _shared(self) -> float:
        """What all endpoints of the device may take together."""
        if self._memory != AUTO:
            return written_bytes(self._memory)
        capacity = capacity_of(self._device)
        return capacity.own_bytes if capacity else float("inf")

    def _bound(self, card: EndpointCard) -> Bound | None:
        named = [
            written_bytes(each)
            for each in {card.memory or self._memory, self._memory}
            if each != AUTO
        ]
        capacity = capacity_of(self._device)
        if capacity is None and not named:
            return None
        free = [capacity.own_bytes] if capacity and self._memory == AUTO else []
        is_cpu = self._kind == "cpu"
        return Bound(
            size_bytes=min(named + free),
            most_bytes=min(named or [capacity.total_bytes if capacity else 0]),
            host_bytes=None if is_cpu else host_capacity().own_bytes,
            reserved_bytes=DRIVER_BYTES if named and self._device.type == "cuda" else 0,
            can_move=bool(named) or not is_cpu,
        )

    def _parts_of(self, card: EndpointCard) -> list[Part]:
        stamps = stamps_of(files_of(card))
        known = self._parts.get(card.id)
        if known is None or known[:2] != (card, stamps):
            known = self._parts[card.id] = (card, stamps, parts_of(card))
        return known[2]

    def _bytes_beside(self, id: str) -> int:
        """What lies beside an endpoint for it to load: adapters, ControlNets, words."""
        catalog = self._latest()
        cards = (
            *catalog.adapters.values(), *catalog.controls.values(), *catalog.embeddings.values()
        )  # fmt: skip
        return sum(_size(card.place) for card in cards if card.endpoint == id)


def room_for(card: EndpointCard, catalog: Catalog, settings: Settings) -> Room:
    """That of the device which an endpoint would be placed on."""
    budget = Budget(settings.memory, settings.endpoint_gib, settings.adapter_gib)
    return Room(lambda: catalog, device_of(card, settings.device), budget)


def tell_memory(loaded: "LoadedPipeline", *, is_gone: bool = False) -> None:
    """Set the metrics of an endpoint's memory, or take them away."""
    told = {
        metrics.MEMORY_PLANNED: loaded.planned_bytes,
        metrics.MEMORY_USED: loaded.used_bytes,
    }
    for gauge, size in told.items():
        gauge.labels(loaded.card.id).set(size)
        if is_gone:
            gauge.remove(loaded.card.id)


def _fault(plan: Plan, path: Path | None = None) -> CardError | None:
    return CardError(plan.reason, path) if plan.verdict == "cannot fit" else None


def _size(place: Path) -> int:
    files = lying_in(place, WEIGHTS) if place.is_dir() else [place]
    return sum(stamp[1] for stamp in stamps_of(files).values() if stamp)
