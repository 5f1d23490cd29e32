"""Valid requests of every dialect, one at least for each route that the application has."""

import re
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from tests.fuzz.bodies import (
    ALIASED,
    BOUNDARY,
    CHECKPOINT,
    CONTAINER,
    DATA_URL,
    ENDPOINT,
    GENERATION,
    HOOK,
    PNG,
    REDRAWN,
    RUN,
    SPEAKEASY,
    WEBUI,
    filled_graph,
    graph,
    picture_graph,
)
from tests.fuzz.wire import Answered, Ask, Sent
from tests.runs.graph.drawing import drawn


class Things(msgspec.Struct, frozen=True):
    """What the requests name: made by asking for it."""

    model: str
    ids: dict[str, str]


def json_request(path: str, body: Any, method: str = "POST", headers: Any = ()) -> Sent:
    """A request with a JSON body."""
    kind = ((b"content-type", b"application/json"),)
    return Sent(method, path.encode(), (*kind, *headers), msgspec.json.encode(body))


def form_request(path: str, fields: dict[str, str], files: dict[str, bytes]) -> Sent:
    """A request with a multipart form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields.items()
    ]
    for name, data in files.items():
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
        )
        parts.append(head.encode() + b"Content-Type: image/png\r\n\r\n" + data + b"\r\n")
    kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
    return Sent(
        "POST",
        path.encode(),
        ((b"content-type", kind),),
        b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(),
    )


async def things(ask: Ask) -> Things:
    """Make one of everything that a request can name."""

    async def made(sent: Sent) -> Any:
        answer = await ask(sent)
        assert answer.status == 200, (sent, answer)
        return msgspec.json.decode(answer.body)

    models = await made(Sent("GET", b"/v1/models"))
    model = models["data"][0]["id"]
    jsonl = msgspec.json.encode(
        {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": GENERATION}
    )
    kept = await made(form_request("/v1/files", {"purpose": "batch"}, {"file": jsonl}))
    batch = await made(
        json_request(
            "/v1/batches",
            {
                "input_file_id": kept["id"],
                "endpoint": "/v1/images/generations",
                "completion_window": "24h",
            },
        )
    )
    hook = await made(json_request("/v1/webhook_endpoints", ENDPOINT))
    drawn = await made(
        json_request("/v1/images/generations", GENERATION | {"response_format": "url"})
    )
    upload = await made(form_request("/api/file/upload", {}, {"file": PNG}))
    offered = await made(Sent("GET", b"/api/upload-url?type=image/png"))
    workflow = await made(
        json_request("/api/workflow", {"workflow_name": "w", "workflow_api": graph(model)})
    )
    deployment = await made(
        json_request(
            "/api/deployment",
            {
                "workflow_version_id": workflow["workflow_version_id"],
                "workflow_id": workflow["workflow_id"],
            },
        )
    )
    runs = await made(json_request("/api/run", RUN | {"model_id": model, "batch_number": 2}))
    ids = {
        "model_id": model,
        "file_id": kept["id"],
        "upload_id": upload["file_id"],
        "batch_id": batch["id"],
        "endpoint_id": hook["id"],
        "run_batch_id": runs["batch_id"],
        "run_id": runs["run_id"],
        "workflow_id": workflow["workflow_id"],
        "version_id": workflow["workflow_version_id"],
        "deployment_id": deployment["id"],
        "picture": _target(drawn["data"][0]["url"]),
        "kept": _target(upload["file_url"]),
        "offered": _target(offered["upload_url"]),
    }
    return Things(model, ids)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def requests(named: Things) -> list[Sent]:
    """The valid requests."""
    model, ids = named.model, named.ids
    line = {"model": model}
    edit = {
        "images": [
            {"image_url": DATA_URL},
        ],
        "prompt": "a dog",
        "strength": 0.5,
        "num_inference_steps": 1,
    }
    form = {"prompt": "a dog", "n": "1", "size": "64x64", "steps": "1", "seed": "1", "loras": "[]"}
    found = [
        json_request("/v1/images/generations", GENERATION | line),
        json_request("/images/generations", ALIASED | line),
        json_request("/v1/images/generations", GENERATION | {"stream": True}),
        json_request(
            "/v1/images/generations", {"prompt": "a"}, headers=((b"accept", b"image/webp"),)
        ),
        json_request("/v1/images/generations", CONTAINER, headers=SPEAKEASY),
        json_request(
            "/v1/batches",
            {
                "input_file_id": ids["file_id"],
                "endpoint": "/v1/images/generations",
                "completion_window": "24h",
                "metadata": {"a": "b"},
                "output_expires_after": {"anchor": "created_at", "seconds": 3600},
            },
        ),
        json_request("/sdapi/v1/txt2img", WEBUI | {"override_settings": {CHECKPOINT: model}}),
        json_request("/sdapi/v1/img2img", WEBUI | REDRAWN),
        json_request("/sdapi/v1/options", {CHECKPOINT: model}),
        json_request("/sdapi/v1/png-info", {"image": DATA_URL}),
        json_request("/v1/webhook_endpoints", ENDPOINT),
        json_request(f"/v1/webhook_endpoints/{ids['endpoint_id']}", ENDPOINT),
        json_request(
            f"/v1/webhook_endpoints/{ids['endpoint_id']}/rotate_secret",
            {"keep_old_secret_active_for_24_hours": True},
        ),
        form_request(
            "/v1/files", {"purpose": "vision", "expires_after[seconds]": "3600"}, {"file": PNG}
        ),
        json_request(
            "/api/run",
            RUN | {"model_id": model, "webhook": HOOK, "webhook_intermediate_status": True},
        ),
        json_request(
            "/api/run/queue", {"deployment_id": ids["deployment_id"], "inputs": {"prompt": "b"}}
        ),
        json_request(
            "/api/run/workflow/sync",
            {"workflow_api_json": msgspec.json.encode(graph(model)).decode()},
        ),
        json_request(
            "/api/run",
            {
                "model_id": model,
                "execution_mode": "sync_first_result",
                "inputs": {
                    "prompt": "a",
                    "image": DATA_URL,
                    "strength": 0.5,
                    "num_inference_steps": 1,
                },
            },
        ),
        json_request(
            "/api/run/deployment/queue",
            {
                "model_id": model,
                "batch_input_params": {"seed": [1, 2], "prompt": ["a", "b"]},
                "inputs": {"num_inference_steps": 1},
            },
        ),
        json_request(
            "/api/workflow",
            {"name": "v", "workflow_id": ids["workflow_id"], "workflow_api": graph(model)},
        ),
        Sent("GET", f"/api/run?run_id={ids['run_id']}&queue_position=true".encode()),
        Sent("GET", f"/api/batch/{ids['run_batch_id']}".encode()),
        Sent("GET", ids["picture"].encode()),
        Sent("GET", ids["kept"].encode()),
        Sent("PUT", ids["offered"].encode(), ((b"content-type", b"image/png"),), PNG),
        Sent("GET", b"/v1/files?purpose=batch&limit=2&order=asc&after=" + ids["file_id"].encode()),
        Sent("GET", b"/v1/batches?limit=2&after=" + ids["batch_id"].encode()),
        Sent("GET", b"/api/v1/workflows?page=1&pageSize=2&search=w"),
        Sent(
            "GET",
            f"/api/v1/workflows/{ids['workflow_id']}/outputs?page=1&pageSize=2&runOrigin=api".encode(),
        ),
        Sent("GET", b"/api/deployments?environment=production"),
        Sent("GET", b"/api/upload-url?type=image/png&file_size=10&file_extension=png"),
    ]
    for prefix in ("/v1/images", "/dedicated/v1/images", "/container/v1/images"):
        found += [
            json_request(f"{prefix}/edits", edit | line),
            form_request(f"{prefix}/edits", form | line, {"image": PNG}),
        ]
    found += [
        form_request("/v1/images/variations", {"n": "1"}, {"image": PNG, "mask": PNG}),
        json_request("/dedicated/v1/images/generations", CONTAINER | line),
        json_request("/container/v1/images/generations", CONTAINER),
        form_request("/api/file/upload", {}, {"file": PNG}),
    ]
    found += comfyui_requests(graph(model), ids)
    for drawing in (graph(model), filled_graph(model), picture_graph(model, ids["upload_id"])):
        found += [
            json_request(
                "/api/run/workflow/queue",
                {"workflow_api": drawing, "inputs": {"prompt": "x", "steps": 1}},
            ),
            json_request("/api/run/sync", {"workflow_api": drawing, "batch_number": 1}),
            json_request("/api/workflow", {"workflow_api": drawing}),
            json_request("/api/run/stream", {"workflow_api": drawing}),
        ]
    return found


def comfyui_requests(drawing: dict[str, Any], ids: dict[str, str]) -> list[Sent]:
    """Those of ComfyUI's own API."""
    reference = msgspec.json.encode({"filename": ids["upload_id"], "type": "input"}).decode()
    prompt = {
        "prompt": drawing,
        "client_id": "c",
        "extra_data": {"preview_method": "auto"},
        "front": True,
        "number": 1,
        "partial_execution_targets": ["9"],
    }
    found = [
        json_request("/prompt", prompt),
        json_request("/api/prompt", prompt | {"prompt": drawn(drawing).saved()}),
        json_request("/queue", {"delete": [ids["run_id"]], "clear": False}),
        json_request("/history", {"delete": ["none"], "clear": False}),
        json_request("/interrupt", {"prompt_id": ids["run_id"]}),
        json_request("/free", {"unload_models": True}),
        form_request("/upload/image", {"subfolder": "a", "overwrite": "true"}, {"image": PNG}),
        form_request("/upload/mask", {"original_ref": reference}, {"image": PNG}),
        Sent("GET", b"/history?max_items=3"),
    ]
    view = f"/view?filename={ids['upload_id']}&subfolder=&type=input".encode()
    return [*found, *(Sent("GET", view + more) for more in (b"&preview=webp;90", b"&channel=rgb"))]


def of_route(method: str, template: str, named: Things) -> Sent:
    """A request for a route by its template, for those that no valid request above reaches."""
    ids = named.ids | {"name": "index.html", "rest": "a/b", "key": "a"}
    path = re.sub(r"\{(\w+)(:\w+)?\}", lambda part: quote(ids.get(part[1], "x")), template)
    return Sent(method, path.encode())


def is_reached(template: str, method: str, found: list[Sent]) -> bool:
    """Whether one of the requests is for a route."""
    pattern = re.compile(
        re.sub(r"/\{\w+:path\}", "/.+", re.sub(r"\{\w+(:str)?\}", "[^/]+", template))
    )
    return any(sent.method == method and pattern.fullmatch(sent.path.decode()) for sent in found)


def is_right(answer: Answered) -> bool:
    """Whether a valid request was answered as one."""
    return not answer.fault and answer.status < 400
