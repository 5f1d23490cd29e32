"""Nothing that is sent makes the gateway fail: the hunt's short form, on both databases."""

import asyncio
from pathlib import Path

from litestar.routes import HTTPRoute

from tests.fuzz.bodies import PNG, graph
from tests.fuzz.hunt import hunt, nth, wrong
from tests.fuzz.seeds import (
    Things,
    form_request,
    is_reached,
    is_right,
    json_request,
    things,
)
from tests.fuzz.values import SEGMENTS, TEXTS
from tests.fuzz.wire import Sent, inside
from tests.fuzz.world import gateway, valid_requests
from tests.runs.postgres import Server

REQUESTS = 800


async def test_mutated_requests_are_answered(tmp_path: Path) -> None:
    async with gateway(tmp_path) as app:
        ask = inside(app)
        valid = valid_requests(app, await things(ask))
        found = await hunt(ask, valid, requests=REQUESTS, seed=1)
        assert [nth(valid, number, 1) for number in range(50)] == [
            nth(valid, number, 1) for number in range(50)
        ]
    assert found.findings == []
    assert sum(found.statuses.values()) == REQUESTS
    assert found.statuses[200] > REQUESTS / 20, "mutations leave some requests valid"


async def test_every_route_is_hunted_from_valid_requests(tmp_path: Path) -> None:
    async with gateway(tmp_path) as app:
        ask = inside(app)
        valid = valid_requests(app, await things(ask))
        routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
        for route in routes:
            methods = set(route.methods) - {"OPTIONS"}
            assert any(is_reached(route.path, method, valid) for method in methods), route.path
        whole = [sent for sent in valid if sent.body]
        answers = [await ask(sent) for sent in whole]
    assert [
        (sent.target, answer.status, answer.body[:300], answer.fault)
        for sent, answer in zip(whole, answers, strict=True)
        if not is_right(answer)
    ] == []


async def test_ids_that_no_database_can_hold(tmp_path: Path, postgres_server: Server) -> None:
    async with gateway(tmp_path, postgres_server.new_database()) as app:
        ask = inside(app)
        named = await things(ask)
        for sent in _named_by(named):
            assert not wrong(sent, await ask(sent)), sent


async def test_the_same_file_from_many_at_once(tmp_path: Path, database: str | None) -> None:
    async with gateway(tmp_path, database) as app:
        ask = inside(app)
        for number in range(6):
            upload = form_request("/api/file/upload", {}, {"file": PNG + bytes([number])})
            answers = await asyncio.gather(*(ask(upload) for _ in range(8)))
            assert [answer.status for answer in answers] == [200] * 8


def _named_by(named: Things) -> list[Sent]:
    """Requests that look for, or write down, texts that are hardly any."""
    paths = [f"/api/{kind}/" for kind in ("run", "batch", "workflow", "deployment")]
    paths += [f"/v1/{kind}/" for kind in ("files", "batches", "models", "webhook_endpoints")]
    paths += ["/v1/webhook_endpoints?after="]
    paths += ["/kept/", "/files/", "/v1/files?after=", "/v1/files?purpose=", "/v1/batches?after="]
    paths += ["/history/", "/object_info/", "/view?filename=", "/view?filename=a&subfolder="]
    paths += ["/api/run?run_id=", "/api/v1/workflows?search=", "/api/upload-url?type="]
    found = [Sent("GET", path.encode() + segment) for path in paths for segment in SEGMENTS[::3]]
    texts = ["a\0b", *(text for text in TEXTS if len(text) < 1000)][::2]
    fields = ("deployment_id", "model_id", "workflow_id", "workflow_version_id", "machine_id")
    for text in texts:
        found += [json_request("/api/run/queue", {field: text}) for field in fields]
        found += [
            json_request("/api/run/queue", {"model_id": named.model, "gpu_event_id": text}),
            json_request("/api/workflow", {"workflow_name": text}),
            json_request("/v1/images/edits", {"prompt": "a", "images": [{"file_id": text}]}),
            json_request("/prompt", {"prompt": graph(named.model), "client_id": text}),
            json_request("/history", {"delete": [text]}),
            form_request("/upload/image", {"subfolder": text}, {"image": PNG}),
            form_request("/v1/files", {"purpose": text}, {"file": PNG}),
            json_request("/api/run/sync", {"model_id": named.model, "inputs": {"prompt": text}}),
        ]
    return found
