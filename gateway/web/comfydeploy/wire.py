"""The bodies of the ComfyDeploy API: every generation's, told apart by what is in them."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.errors import InvalidType
from gateway.outside.parameters import MAX_SECONDS
from gateway.outside.spelling import is_absent
from gateway.outside.unread import unknown
from gateway.outside.values import convert
from gateway.remarks import Remark
from gateway.runs.ordering import Wanted, json_object, merged_inputs
from gateway.runs.records import Order

ExecutionMode = Literal["async", "sync", "sync_first_result", "stream"]
MAX_LIMIT = 2**31 - 1
Origin = Literal["manual", "api", "public-share", "public-template", "workspace", "workspace-v2"]


class RunBody(msgspec.Struct, frozen=True, kw_only=True):
    """A request for runs: the union of the four generations' bodies.

    Nearly everything may be absent or null; old SDKs send whole numbers as floats.
    """

    deployment_id: str | None = None
    model_id: str | None = None
    workflow_version_id: str | None = None
    workflow_id: str | None = None
    workflow_api: dict[str, Any] | str | None = None
    workflow_api_json: dict[str, Any] | str | None = None
    workflow: Any = None
    inputs: dict[str, Any] | None = None
    inputs_json: str | None = None
    machine_id: str | None = None
    gpu: str | None = None
    private_volume_name: str | None = None
    concurrency_limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] | None = None
    timeout: Annotated[float, Meta(gt=0)] | None = None
    run_origin: Origin | None = None
    origin: Origin | None = None
    webhook: str | None = None
    webhook_intermediate_status: bool | None = None
    stream: bool | None = None
    batch_number: int | None = None
    batch_input_params: dict[str, list[Any]] | None = None
    execution_mode: ExecutionMode | None = None
    is_native_run: bool | None = None
    gpu_event_id: str | None = None
    flags: list[str] | None = None


class ReadBody(RunBody, frozen=True, kw_only=True):
    """A request for runs as it was read, and what is to be said of its fields."""

    remarks: tuple[Remark, ...] = ()

    def wanted(self, base_url: str) -> Wanted:
        """The request without its dialect; an object wins over text."""
        graph = json_object(self.workflow_api, "workflow_api")
        return Wanted(
            order=Order(
                machine_id=self.machine_id,
                gpu=self.gpu,
                gpu_event_id=self.gpu_event_id,
                origin=self.origin or self.run_origin or "api",
                is_native_run=bool(self.is_native_run),
                private_volume_name=self.private_volume_name,
                webhook=self.webhook or None,
                webhook_intermediate_status=bool(self.webhook_intermediate_status),
                base_url=base_url,
                timeout_seconds=min(self.timeout, MAX_SECONDS) if self.timeout else None,
                concurrency_limit=self.concurrency_limit,
                remarks=self.remarks,
            ),
            workflow_version_id=self.workflow_version_id,
            graph=graph or json_object(self.workflow_api_json, "workflow_api_json"),
            workflow_id=self.workflow_id,
            deployment_id=self.deployment_id,
            model_id=self.model_id,
            inputs=merged_inputs(self.inputs, self.inputs_json),
            batch_number=self.batch_number,
            batch_input_params=self.batch_input_params,
        )


NAME_CHARACTERS = 64
"""More than any field's name has."""

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")


def run_body(data: Any) -> ReadBody:
    """Read a body; names in camel case mean their snake case.

    Raises:
        InvalidRequest: a field has the wrong type.
    """
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InvalidType("body", "an object", type(data).__name__)
    snake = {_snake(key): value for key, value in data.items()}
    body = convert(snake | data, RunBody)
    said = [key for key, value in data.items() if not is_absent(value)]
    strange = [key for key in said if _snake(key) not in RunBody.__struct_fields__]
    remarks = tuple(unknown(strange, RunBody.__struct_fields__))
    return ReadBody(**msgspec.structs.asdict(body), remarks=remarks)


def _snake(name: str) -> str:
    if len(name) > NAME_CHARACTERS:
        return name
    return _HUMP.sub(lambda hump: f"_{hump[1].lower()}", name)
