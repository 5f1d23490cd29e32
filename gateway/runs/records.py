"""What is stored of a run: the order that made it, how far it is, what came of it."""

from typing import Any, Literal

import msgspec

from gateway.remarks import Remark

Status = Literal[
    "not-started",
    "queued",
    "started",
    "running",
    "uploading",
    "success",
    "failed",
    "timeout",
    "cancelled",
]
ENDED: frozenset[str] = frozenset({"success", "failed", "timeout", "cancelled"})


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything a run was asked for, settled: drawing it twice gives the same pictures.

    `remarks` are those on the fields of the request itself.

    Exactly one of `model_id` and `graph` says what to draw; `inputs` are the model's
    parameters, or what was filled into the graph. The rest is kept to be told again.
    """

    model_id: str | None = None
    graph: dict[str, Any] | None = None
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    workflow_id: str | None = None
    workflow_version_id: str | None = None
    deployment_id: str | None = None
    machine_id: str | None = None
    gpu: str | None = None
    gpu_event_id: str | None = None
    origin: str = "api"
    is_native_run: bool = False
    private_volume_name: str | None = None
    webhook: str | None = None
    webhook_intermediate_status: bool = False
    base_url: str = ""
    """What the paths of its pictures are put behind, as the request came."""
    timeout_seconds: float | None = None
    concurrency_limit: int | None = None
    num_samples: int = 1
    """The most pictures that one of its jobs draws."""
    remarks: tuple[Remark, ...] = ()
    client_id: str | None = None
    """By which the client that asked goes, among those of its key."""
    previews: bool = False
    """Whether watchers are shown pictures while they are drawn."""
    keeps_temporary: bool = False
    """Whether what is only previewed is an output as well."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """What its client found it by again."""
    digest: str = ""
    """Of the request, where its client gave it a name by which it may come again."""
    trace: str = ""
    """What goes on with it: the `traceparent` of the request."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands; times are seconds since the epoch, `progress` is in [0, 1]."""

    id: str
    number: int
    owner: str
    status: Status
    order: Order
    live_status: str | None
    progress: float
    created_at: float
    updated_at: float
    queued_at: float | None
    started_at: float | None
    ended_at: float | None
    batch_id: str | None
    error: str | None
    notes: tuple[Remark, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.status in ENDED


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A stored picture of an output; `key` is where the store keeps it."""

    key: str
    filename: str
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float = 0.0
    size_bytes: int = 0


class RunOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What one output node of a run made; a failed run's says why instead.

    `refusal` is the code of the fault where it is the client's, which a retry cannot mend.
    """

    id: str
    run_id: str
    node_id: str | None
    node_class: str | None
    output_id: str | None
    created_at: float
    items: tuple[Item, ...] = ()
    errors: tuple[str, ...] = ()
    refusal: str = ""


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something a webhook is told; its id stays the same however often it is sent.

    `notes` are known once the run has ended.
    """

    id: str
    run_id: str
    sequence: int
    kind: Literal["run.updated", "run.output"]
    status: Status
    live_status: str | None = None
    progress: float = 0.0
    outputs: tuple[RunOutput, ...] = ()
    notes: tuple[Remark, ...] = ()

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.run_id


def message_id(run_id: str, sequence: int) -> str:
    """The id of a run's webhook event of a number, by which receivers know it."""
    return f"msg_{run_id}_{sequence}"


class Attempt(msgspec.Struct, frozen=True):
    """One try to deliver an event: what the receiver said, or why it could not be asked.

    After one that `is_final` there is no other.
    """

    event_id: str
    attempt: int
    at: float
    seconds: float
    http_status: int | None
    fault: str | None
    is_final: bool

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.http_status is not None and 200 <= self.http_status < 300
