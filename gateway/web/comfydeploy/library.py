"""Routes of what runs are made from: deployments, workflows, models and their inputs."""

import time
import uuid
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Meta

from gateway.catalog.catalog import Catalog, Model
from gateway.errors import InvalidValue, NotFound
from gateway.outside.values import convert
from gateway.runs.graph.externals import InputDefinition, definitions
from gateway.runs.library.library import Deployment, Workflow
from gateway.runs.ordering import json_object
from gateway.runs.pools import pools
from gateway.runs.runs import Runs
from gateway.runs.telling import iso, media_item
from gateway.web.comfydeploy.models import model_inputs, model_object
from gateway.web.door.answers.schema import of_runs
from gateway.web.door.asking import Asker, Asking, House
from gateway.web.door.bodies.bodies import read_json

AnyRequest = Request[Any, Any, Any]
ENVIRONMENTS = ("staging", "production", "public-share", "private-share")
PageSize = Annotated[int, QueryParameter(name="pageSize")]
RunOrigin = Annotated[str | None, QueryParameter(name="runOrigin")]
LOCAL = "local"
"""The machine that everything runs on where no pools are configured."""


@get("/deployments", operation_class=of_runs())
async def list_deployments(
    runs: House, asker: Asking, environment: FromQuery[str | None] = None
) -> list[dict[str, Any]]:
    """Stored deployments, then every model of the catalogue, deployed under its own id."""
    stored = await runs.library.deployments(asker.owner)
    found = [await _deployment_object(runs, asker, deployment) for deployment in stored]
    catalog = runs.catalog
    found += [_model_deployment(model, catalog) for model in _usable(catalog, asker)]
    return [item for item in found if environment in (None, item["environment"])]


@get("/deployment", operation_class=of_runs())
async def list_deployments_v1(
    runs: House, asker: Asking, environment: FromQuery[str] = "production"
) -> list[dict[str, Any]]:
    """Deployments with their inputs, for the first generation."""
    items = []
    for deployment in await runs.library.deployments(asker.owner):
        if deployment.environment == environment:
            workflow = await runs.library.workflow(deployment.workflow_id, asker.owner)
            name = workflow.name if workflow else deployment.id
            inputs = await _inputs(runs, asker, deployment)
            items.append(_offer(deployment.id, name, inputs))
    if environment == "production":
        models = _usable(runs.catalog, asker)
        items += [_offer(model.id, model.id, model_inputs(model, runs.catalog)) for model in models]
    return items


@get("/deployment/{deployment_id:path}", operation_class=of_runs())
async def get_deployment(runs: House, asker: Asking, deployment_id: FromPath[str]) -> Any:
    """A deployment, or with `/inputs` behind its id what it takes."""
    deployment_id = deployment_id.strip("/")
    wants_inputs = deployment_id.endswith("/inputs")
    deployment_id = deployment_id.removesuffix("/inputs")
    deployment = await runs.library.deployment(deployment_id, asker.owner)
    if deployment is not None:
        if wants_inputs:
            return _definitions(await _inputs(runs, asker, deployment))
        return await _deployment_object(runs, asker, deployment)
    try:
        model = runs.catalog.resolve(deployment_id)
    except NotFound:
        raise NotFound(f"Deployment {deployment_id} not found") from None
    asker.permit(model)
    if wants_inputs:
        return _definitions(model_inputs(model, runs.catalog))
    return _model_deployment(model, runs.catalog)


class DeploymentBody(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /deployment`."""

    workflow_version_id: str
    workflow_id: str
    machine_id: Annotated[str, Meta(max_length=128)] = LOCAL
    environment: str = "production"


@post("/deployment", status_code=200, operation_class=of_runs(DeploymentBody))
async def create_deployment(request: AnyRequest, runs: House, asker: Asking) -> dict[str, Any]:
    """Offer a version of a workflow; its environment's deployment keeps its id."""
    body = convert(await read_json(request), DeploymentBody)
    if body.environment not in ENVIRONMENTS:
        raise InvalidValue("environment", body.environment, ", ".join(ENVIRONMENTS))
    version = await runs.library.version(body.workflow_version_id, asker.owner)
    if version is None or version.workflow_id != body.workflow_id:
        raise NotFound(f"Workflow version {body.workflow_version_id} not found")
    await runs.ordering.check_graph(version.graph)
    now = time.time()
    deployment = await runs.library.deploy(
        Deployment(
            id=str(uuid.uuid4()),
            owner=asker.owner,
            workflow_id=body.workflow_id,
            workflow_version_id=version.id,
            machine_id=body.machine_id,
            environment=body.environment,
            created_at=now,
            updated_at=now,
        )
    )
    return await _deployment_object(runs, asker, deployment)


@get("/models", operation_class=of_runs())
async def list_models(runs: House, asker: Asking) -> list[dict[str, Any]]:
    """The catalogue, with each model's inputs."""
    catalog = runs.catalog
    return [model_object(model, catalog) for model in _usable(catalog, asker)]


@get("/v1/workflows", operation_class=of_runs())
async def list_workflows(
    runs: House,
    asker: Asking,
    page: FromQuery[int] = 1,
    page_size: PageSize = 12,
    search: FromQuery[str] = "",
) -> list[dict[str, Any]]:
    """An owner's workflows, a page at a time."""
    found = await runs.library.workflows(asker.owner)
    found = [workflow for workflow in found if search.lower() in workflow.name.lower()]
    shown = _page(found, page, page_size)
    return [_workflow_row(workflow, index) for index, workflow in enumerate(shown)]


class WorkflowBody(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow to store; either field may hold the graph, as an object or as text."""

    workflow_name: str | None = None
    name: str | None = None
    workflow_id: str | None = None
    workflow_json: Any = None
    workflow_api: Any = None
    create_machine: bool = True


@post(["/v1/workflows", "/workflow"], status_code=200, operation_class=of_runs(WorkflowBody))
async def create_workflow(request: AnyRequest, runs: House, asker: Asking) -> dict[str, Any]:
    """Store a workflow, or a version of one, once its graph has been seen to compile.

    SDKs strip the graph on its way; such a workflow is empty until a version has one.
    """
    body = convert(await read_json(request), WorkflowBody)
    graph = json_object(body.workflow_api, "workflow_api")
    graph = graph or json_object(body.workflow_json, "workflow_json")
    if graph is not None:
        graph = await runs.ordering.check_graph(graph)
    graph = graph or {}
    if body.workflow_id:
        workflow = await _workflow(runs, asker, body.workflow_id)
        version = await runs.library.add_version(workflow, graph)
    else:
        name = body.workflow_name or body.name or "new workflow"
        workflow = await runs.library.create_workflow(asker.owner, name, graph)
        version = workflow.versions[0]
    return {
        "workflow_id": workflow.id,
        "workflow_version": version.version,
        "workflow_version_id": version.id,
        "machine_id": LOCAL if body.create_machine else None,
    }


@get(["/v1/workflows/{workflow_id:str}", "/workflow/{workflow_id:str}"], operation_class=of_runs())
async def get_workflow(runs: House, asker: Asking, workflow_id: FromPath[str]) -> dict[str, Any]:
    """A workflow with its versions."""
    workflow = await _workflow(runs, asker, workflow_id)
    return {
        "id": workflow.id,
        "name": workflow.name,
        "user_id": workflow.owner,
        "org_id": None,
        "selected_machine_id": LOCAL,
        "created_at": iso(workflow.created_at),
        "updated_at": iso(workflow.updated_at),
        "versions": [
            {
                "id": version.id,
                "version": version.version,
                "workflow_id": workflow.id,
                "workflow_api": version.graph,
                "created_at": iso(version.created_at),
                "updated_at": iso(version.created_at),
            }
            for version in workflow.versions
        ],
    }


@get("/workflow-version/{version_id:str}", operation_class=of_runs())
async def get_version(runs: House, asker: Asking, version_id: FromPath[str]) -> dict[str, Any]:
    """One version of a workflow."""
    version = await runs.library.version(version_id, asker.owner)
    if version is None:
        raise NotFound(f"Workflow version {version_id} not found")
    return {
        "id": version.id,
        "version": version.version,
        "workflow_id": version.workflow_id,
        "workflow_api": version.graph,
        "created_at": iso(version.created_at),
    }


@get("/v1/workflows/{workflow_id:str}/outputs", operation_class=of_runs())
async def list_outputs(
    runs: House,
    asker: Asking,
    workflow_id: FromPath[str],
    page: FromQuery[int] = 1,
    page_size: PageSize = 12,
    origin: RunOrigin = None,
) -> Response[dict[str, Any]]:
    """What the runs of a workflow, or of a model, have made; newest first."""
    found = await runs.of_workflow(workflow_id, asker.owner)
    found = [run for run in found if origin in (None, run.order.origin)]
    shown = _page(found, page, page_size)
    made = await runs.outputs(*(run.id for run in shown))
    rows = [
        {
            "fileURLs": [
                media_item(item, asker.base_url, runs.files)["url"]
                for output in made
                if output.run_id == run.id
                for item in output.items
            ],
            "runID": run.id,
            "duration": (run.ended_at or run.created_at) - run.created_at,
        }
        for run in shown
    ]
    return Response({"outputs": rows, "total": len(found)})


@get(["/v1/machines", "/machines"], operation_class=of_runs())
async def list_machines(request: AnyRequest, runs: House, asker: Asking) -> Any:
    """The configured pools, each as a machine; without any, the one here."""
    machines = [
        {"id": name, "name": name, "type": "classic", "status": "ready", "endpoints": endpoints}
        for name, endpoints in (
            pools(runs.settings) or {LOCAL: list(runs.catalog.endpoints)}
        ).items()
    ]
    if request.scope["path"].endswith("/v1/machines"):
        return {"machines": machines, "total": len(machines)}
    return machines


async def _workflow(runs: Runs, asker: Asker, workflow_id: str) -> Workflow:
    workflow = await runs.library.workflow(workflow_id, asker.owner)
    if workflow is None:
        raise NotFound(f"Workflow {workflow_id} not found")
    return workflow


async def _inputs(runs: Runs, asker: Asker, deployment: Deployment) -> list[InputDefinition]:
    version = await runs.library.version(deployment.workflow_version_id, asker.owner)
    return definitions(version.graph) if version else []


async def _deployment_object(runs: Runs, asker: Asker, deployment: Deployment) -> dict[str, Any]:
    workflow = await runs.library.workflow(deployment.workflow_id, asker.owner)
    version = await runs.library.version(deployment.workflow_version_id, asker.owner)
    graph = version.graph if version else {}
    shown = _deployed(
        deployment.id, deployment.workflow_id, workflow.name if workflow else deployment.id
    )
    outputs = [
        {"class_type": node["class_type"], "output_id": node["inputs"].get("output_id", id)}
        for id, node in graph.items()
        if node["class_type"] in ("SaveImage", "ComfyDeployOutputImage")
    ]
    return shown | {
        "user_id": deployment.owner or LOCAL,
        "workflow_version_id": deployment.workflow_version_id,
        "machine_id": deployment.machine_id,
        "environment": deployment.environment,
        "created_at": iso(deployment.created_at),
        "updated_at": iso(deployment.updated_at),
        "input_types": _definitions(definitions(graph)),
        "output_types": outputs,
    }


def _model_deployment(model: Model, catalog: Catalog) -> dict[str, Any]:
    shown = _deployed(model.id, model.id, model.id)
    card = model.adapter or model.endpoint
    return shown | {
        "description": card.description or None,
        "input_types": _definitions(model_inputs(model, catalog)),
        "output_types": [{"class_type": "SaveImage", "output_id": "output_images"}],
    }


def _deployed(id: str, workflow_id: str, name: str) -> dict[str, Any]:
    """Every key that some SDK wants of a deployment."""
    return {
        "id": id,
        "user_id": LOCAL,
        "org_id": None,
        "workflow_version_id": workflow_id,
        "workflow_id": workflow_id,
        "machine_id": LOCAL,
        "share_slug": None,
        "description": None,
        "share_options": None,
        "showcase_media": None,
        "environment": "production",
        "created_at": iso(0.0),
        "updated_at": iso(0.0),
        "workflow": {"id": workflow_id, "name": name},
    }


def _usable(catalog: Catalog, asker: Asker) -> list[Model]:
    return [model for model in catalog.models() if asker.may(model)]


def _offer(id: str, name: str, inputs: list[InputDefinition]) -> dict[str, Any]:
    return {"deployment_id": id, "name": name, "inputs_definition": _definitions(inputs)}


def _definitions(inputs: list[InputDefinition]) -> list[dict[str, Any]]:
    """Inputs as JSON; the first generation wants a default of each, and no null."""
    shown = [{"default_value": None} | msgspec.to_builtins(each) for each in inputs]
    return [
        each | {"default_value": ""} if each["default_value"] is None else each for each in shown
    ]


def _workflow_row(workflow: Workflow, index: int) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "updated_at": iso(workflow.updated_at),
        "name": workflow.name,
        "selected_machine_id": LOCAL,
        "count": str(index + 1),
        "user": {"name": workflow.owner or LOCAL},
        "versions": [
            {"id": version.id, "version": version.version} for version in workflow.versions
        ],
        "deployments": [],
        "runs": [],
    }


def _page(items: list[Any], page: int, size: int) -> list[Any]:
    size = min(max(size, 1), 100)
    start = (max(page, 1) - 1) * size
    return items[start : start + size]


ROUTES = [
    list_deployments,
    list_deployments_v1,
    get_deployment,
    create_deployment,
    list_models,
    list_workflows,
    create_workflow,
    get_workflow,
    get_version,
    list_outputs,
    list_machines,
]
