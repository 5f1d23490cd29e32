"""What the rest of the gateway knows of an engine; imports no torch."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from gateway.catalog.abilities import Abilities
from gateway.job import Event, Job


class Space(msgspec.Struct, frozen=True):
    """Bytes of memory for one kind of thing: in all, None without a bound, and taken."""

    total_bytes: int | None = None
    used_bytes: int = 0

    @property
    def total(self) -> float:
        """In all, infinite without a bound."""
        return float("inf") if self.total_bytes is None else self.total_bytes

    @property
    def free(self) -> float:
        """What is not taken."""
        return max(0.0, self.total - self.used_bytes)

    def with_more(self, size_bytes: int) -> "Space":
        """The same with so much more taken."""
        return Space(self.total_bytes, self.used_bytes + size_bytes)


class LoadedEndpoint(msgspec.Struct, frozen=True):
    """An endpoint in memory: its pipeline class, the bytes of its weights and its adapters.

    `digests` are of the weights in memory, by model id; `ranks` are those of LoRAs, by route.
    `planned_bytes` are what it was to take of
    its device, `used_bytes` the most that it was seen to.
    """

    id: str
    pipeline: str
    device: str
    size_bytes: int
    adapters: tuple[str, ...] = ()
    digests: dict[str, str | None] = msgspec.field(default_factory=dict)
    ranks: dict[str, int] = msgspec.field(default_factory=dict)
    warm: bool = False
    planned_bytes: int = 0
    used_bytes: int = 0


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One of several engines behind one front: where it is and how it stands.

    `standing` is `ready`, `starting`, `draining`, `dead` or `ended`; `process` its number on the
    machine `host`. `fault` is why it is not ready, or none of what is preloaded can be drawn.
    """

    name: str
    standing: str
    host: str = ""
    process: int | None = None
    num_running: int = 0
    num_waiting: int = 0
    queued_seconds: float = 0.0
    fault: str | None = None


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot for health checks and the operator's page.

    `num_running` and `num_waiting` count samples. `batch_sizes` are those of the latest
    denoiser forwards, newest last. `step_seconds` is the latest mean time of one denoising
    step per endpoint. `num_recordings` forwards are replayed, and take `recorded_bytes` of the
    devices. `fault` says why it is not ready, where that is not loading; `faults`
    why models could not be loaded, by id. `plans` say of endpoints, loaded or not, how they are
    placed in their device's memory.

    `queued_seconds` is the device time of all that waits and runs, where there are several
    devices of the one with most, and `batch_seconds` the part of it that batch samples are.
    `sample_step_seconds` is that of one step of one sample, its share of what is batched, per
    endpoint; `load_seconds` how long the latest load of each model took, by id. `weights` is the
    memory for endpoints, `beside` that for what lies beside them. `running_adapters` and
    `waiting_adapters` are the ids of those that samples run and wait with. `replicas` are the
    engines behind this one, where it has none of its own.
    """

    ready: bool
    fault: str | None = None
    num_running: int
    num_waiting: int
    loaded: tuple[LoadedEndpoint, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    step_seconds: dict[str, float] = msgspec.field(default_factory=dict)
    faults: dict[str, str] = msgspec.field(default_factory=dict)
    plans: dict[str, str] = msgspec.field(default_factory=dict)
    num_recordings: int = 0
    recorded_bytes: int = 0
    queued_seconds: float = 0.0
    batch_seconds: float = 0.0
    sample_step_seconds: dict[str, float] = msgspec.field(default_factory=dict)
    load_seconds: dict[str, float] = msgspec.field(default_factory=dict)
    weights: Space = Space()
    beside: Space = Space()
    running_adapters: tuple[str, ...] = ()
    waiting_adapters: tuple[str, ...] = ()
    replicas: tuple[ReplicaStatus, ...] = ()

    @property
    def digests(self) -> dict[str, str | None]:
        """Those of all weights in memory, by model id."""
        return {id: digest for one in self.loaded for id, digest in one.digests.items()}


class Engine(Protocol):
    """Samples in, events out."""

    def submit(self, job: Job) -> AsyncGenerator[Event]:
        """Admit a job and return its events; every sample ends in one Finished or Failed.

        Admission happens in this call, before the first event is awaited. Closing the
        iterator cancels what is unfinished within one denoising step.

        Raises:
            Overloaded: the door is full; nothing was started.
            ShuttingDown: the engine takes no new jobs.
        """
        ...

    def status(self) -> EngineStatus:
        """What is loaded, running and waiting right now."""
        ...

    def runs_scheduler(
        self, endpoint: str, name: str | None, config: Mapping[str, Any]
    ) -> bool | None:
        """Whether a model takes a scheduler, None for its own, with more laid over its config.

        None while its files are not here; the first call for each takes some milliseconds.
        """
        ...

    def abilities(self, endpoint: str) -> Abilities | None:
        """What an endpoint's pipeline can hear of a request; None while its files are not here."""
        ...

    async def load_adapter(self, endpoint: str, route: str) -> None:
        """Have an adapter of the catalogue in memory, beside running work.

        Raises:
            CardError: its file cannot be used, and why.
            GatewayError: its endpoint cannot, or the engine takes nothing any more.
        """
        ...

    def notice(self) -> None:
        """Let go of what is no longer in the catalogue, when nothing runs with it."""
        ...

    async def start(self) -> None:
        """Start the engine's thread, load preloaded endpoints and warm them up.

        What was submitted before is drawn from now on. A second time it does nothing, nor does
        it start again what was stopped.
        """
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new jobs, let running ones finish for up to the grace, fail the rest.

        It may come before or during the start, and more than once.
        """
        ...


@runtime_checkable
class Replicated(Protocol):
    """An engine of several replicas, which can be ended and begun anew one by one."""

    async def drain(self, replica: str) -> None:
        """Give a replica no more work, let it finish or move what it has, and end it.

        Nobody takes its place until it is restarted.

        Raises:
            NotFound: there is none of this name.
        """
        ...

    async def restart(self, replica: str | None = None) -> None:
        """Begin a replica anew, or all of them one after another; no work is lost.

        Raises:
            NotFound: there is none of this name.
            GenerationFailed: one did not come back; those after it were left as they are.
        """
        ...
