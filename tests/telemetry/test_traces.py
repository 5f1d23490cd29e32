"""Where time goes, told to a collector: real clients, the real engine, OTLP as it is sent."""

import asyncio
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import httpx2
import mcp
import openai
import pytest
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.app import create_app
from gateway.catalog.catalog import Catalog
from gateway.catalog.folders import load_catalog
from gateway.engine.local import LocalEngine
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.holding import holding
from tests.runs.house import gateway_secret
from tests.runs.receiver import receiving
from tests.serving import listening
from tests.telemetry.collector import Collector, Told, collecting, new_trace

PATH = "/v1/images/generations"
SERVER, INTERNAL, CLIENT = 2, 1, 3
PHASES = ("queue", "steps", "decode")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalogue")
    steps = {"min": 1, "max": 50, "default": 3}
    tiny.save("sd", folder / "models", steps=steps)
    tiny_loras.save("sd", folder / "adapters" / "sd", "ink")
    broken = tiny.save("sd", folder / "models", id="broken", steps=steps)
    for weights in (broken / "unet").glob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:1000])
    return load_catalog((folder / "models",), (folder / "adapters",))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def address(catalog: Catalog, collector: Collector, data: Path) -> Iterator[str]:
    """A gateway that tells of what it does, twenty times a second."""
    settings = Settings(
        data=data, threads=1, otlp_endpoint=collector.url, url_allow=("127.0.0.1",)
    )
    with pytest.MonkeyPatch.context() as patching:
        patching.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        app = create_app(settings, LocalEngine(catalog, settings), catalog)
        with listening(app) as address:
            yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield client


def tree(collector: Collector, trace: str, end: str, num_spans: int = 1) -> dict[str, list[Told]]:
    """All spans of a trace by the name of their parent, once one by the name of `end` came."""
    collector.wait_for(trace, end, num_spans)
    spans = {span.id: span for span in collector.of(trace)}
    found: dict[str, list[Told]] = {}
    for span in spans.values():
        parent = spans.get(span.parent)
        found.setdefault(parent.name if parent else "", []).append(span)
    return found


def names(spans: list[Told]) -> list[str]:
    return [span.name for span in spans]


def is_in_turn(phases: list[Told], drawing: Told) -> bool:
    """Whether phases follow each other without a gap, from a drawing's begin to its end."""
    edges = [drawing.began, *(edge for one in phases for edge in (one.began, one.ended))]
    joined = all(a == b for a, b in zip(edges[2::2], edges[3::2], strict=False))
    return edges[0] == edges[1] and joined and edges[-1] <= drawing.ended


def test_a_request_is_followed_through_door_engine_and_store(
    client: openai.OpenAI, collector: Collector
) -> None:
    trace, headers = new_trace()
    client.images.generate(
        model="sd:ink", prompt="a secret", size="64x64", response_format="url",
        extra_headers=headers, extra_body={"seed": 7, "num_inference_steps": 3},
    )
    found = tree(collector, trace, f"POST {PATH}")
    (request,) = found.pop("")
    assert (request.kind, request.service) == (SERVER, "image-gateway")
    assert request.parent == headers["traceparent"].split("-")[2]
    assert request.attributes["http.route"] == PATH
    assert names(found.pop(request.name)) == ["generate_content sd:ink", "encode", "store"]
    ((_, phases),) = found.items()
    (drawing,) = collector.named(trace, "generate_content sd:ink")
    said = drawing.attributes
    assert {name: said[name] for name in said if name.startswith("gen_ai")} == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "image-gateway",
        "gen_ai.request.model": "sd:ink",
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 1,
    }
    assert (said["gateway.width"], said["gateway.height"], said["gateway.steps"]) == (64, 64, 3)
    assert said["gateway.adapters"] == ["ink@1"]
    assert names(phases) == [*PHASES]
    assert is_in_turn(phases, drawing)
    assert [name for name, _ in phases[1].events] == ["step"] * 3
    assert phases[1].began <= phases[1].events[0][1] <= phases[1].events[-1][1] <= phases[1].ended
    assert not any(span.has_failed for span in collector.of(trace))
    assert not any("secret" in str(span.attributes) for span in collector.of(trace))


def test_each_of_several_pictures_has_its_own_phases(
    client: openai.OpenAI, collector: Collector
) -> None:
    trace, headers = new_trace()
    client.images.generate(
        model="sd", prompt="a", n=4, size="64x64", response_format="b64_json",
        extra_headers=headers, extra_body={"seed": 2**64 - 4},
    )
    found = tree(collector, trace, f"POST {PATH}")
    assert names(found[f"POST {PATH}"]) == ["generate_content sd", *["encode"] * 4]
    (drawing,) = collector.named(trace, "generate_content sd")
    assert drawing.attributes["gen_ai.request.choice.count"] == 4
    assert drawing.attributes["gen_ai.request.seed"] == str(2**64 - 4)
    for sample in range(4):
        phases = [one for one in found[drawing.name] if one.attributes["gateway.sample"] == sample]
        assert names(phases) == [*PHASES]
        assert is_in_turn(phases, drawing)


def test_a_stream_and_an_edit_are_followed_to_their_ends(
    client: openai.OpenAI, collector: Collector
) -> None:
    trace, headers = new_trace()
    stream = client.images.generate(
        model="sd", prompt="a", size="64x64", stream=True, partial_images=1, extra_headers=headers
    )
    assert [event.type for event in stream][-1] == "image_generation.completed"
    found = tree(collector, trace, f"POST {PATH}")
    assert names(found[f"POST {PATH}"])[0] == "generate_content sd"
    assert names(found["generate_content sd"]) == [*PHASES]

    trace, headers = new_trace()
    picture = BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "png")
    client.images.edit(
        model="sd", prompt="a", image=("a.png", picture.getvalue()), size="64x64",
        extra_headers=headers,
    )
    edits = "POST /v1/images/edits"
    found = tree(collector, trace, edits)
    assert "generate_content sd" in names(found[edits])
    assert names(found["generate_content sd"]) == [*PHASES]


def test_what_fails_says_why(client: openai.OpenAI, collector: Collector) -> None:
    trace, headers = new_trace()
    with pytest.raises(openai.APIStatusError):
        client.images.generate(model="broken", prompt="a", size="64x64", extra_headers=headers)
    found = tree(collector, trace, f"POST {PATH}")
    (drawing,) = collector.named(trace, "generate_content broken")
    assert drawing.has_failed
    assert drawing.attributes["error.type"] == "model_unusable"
    (phase,) = found[drawing.name]
    assert (phase.name, phase.has_failed) == ("queue", True)


def test_who_leaves_ends_the_trace(address: str, collector: Collector) -> None:
    trace, headers = new_trace()
    with holding(num_free=1) as held, httpx.Client() as client:
        body = {"model": "sd", "prompt": "a", "size": "64x64", "stream": True}
        with client.stream("POST", address + PATH, json=body, headers=headers):
            held.wait()
    (drawing,) = collector.wait_for(trace, "generate_content sd")
    assert (drawing.has_failed, drawing.attributes["error.type"]) == (True, "cancelled")
    assert [span.name for span in collector.of(trace) if span.parent == drawing.id][-1] == "steps"
    (request,) = collector.wait_for(trace, f"POST {PATH}")
    assert drawing.parent == request.id


def test_a_run_goes_on_with_the_trace_and_its_webhooks_receivers_may(
    address: str, collector: Collector, data: Path
) -> None:
    trace, headers = new_trace()
    with receiving(gateway_secret(data)) as receiver:
        queued = httpx.post(
            f"{address}/api/run/deployment/queue",
            json={
                "deployment_id": "sd",
                "inputs": {"prompt": "a", "width": 64, "height": 64},
                "webhook": receiver.url,
            },
            headers=headers | {"tracestate": "theirs=1"},
        )
        assert queued.is_success, queued.text
        found = tree(collector, trace, "webhook", 4)
    (request,) = found[""]
    assert request.name.startswith("POST /api/run")
    assert sorted({*names(found[request.name])}) == ["run", "webhook"]
    assert names(found["run"]) == ["generate_content sd", "encode", "store"]
    assert names(found["generate_content sd"]) == [*PHASES]
    sent = {span.id for span in found[request.name] if span.name == "webhook"}
    told = [letter for letter, _ in receiver.letters]
    assert {letter["traceparent"].split("-")[1] for letter in told} == {trace}
    assert {letter["traceparent"].split("-")[2] for letter in told} == sent
    assert not any("tracestate" in letter or "baggage" in letter for letter in told)
    assert {span.kind for span in found[request.name] if span.name == "webhook"} == {CLIENT}


def test_a_batchs_lines_point_to_who_began_it(client: openai.OpenAI, collector: Collector) -> None:
    trace, headers = new_trace()
    line = (
        b'{"custom_id": "1", "method": "POST", "url": "/v1/images/generations", '
        b'"body": {"model": "sd", "prompt": "a", "size": "64x64"}}'
    )
    file = client.files.create(file=("lines.jsonl", line), purpose="batch")
    client.batches.create(
        input_file_id=file.id, endpoint=PATH, completion_window="24h",  # type: ignore[arg-type]
        extra_headers=headers,
    )
    collector.wait_for(trace, "POST /v1/batches")

    def linked() -> list[Told]:
        return [span for span in collector.spans if span.links == [trace]]

    _until(lambda: bool(linked()))
    (answered,) = linked()
    assert (answered.name, answered.parent, answered.kind) == (f"POST {PATH}", "", SERVER)
    assert answered.trace != trace
    (drawing,) = collector.wait_for(answered.trace, "generate_content sd")
    assert drawing.parent == answered.id


async def test_a_tool_is_called_in_the_trace_of_its_own_request(
    address: str, collector: Collector
) -> None:
    (_, headers), (trace, more) = new_trace(), new_trace()
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{address}/mcp", http_client=http)
        async with mcp.Client(transport, mode="legacy") as agent:
            http.headers.update(more)
            asked = {"prompt": "a", "model": "sd", "size": "64x64"}
            drawn = await agent.call_tool("generate_image", asked)
            assert not drawn.is_error, drawn
    found = tree(collector, trace, "execute_tool")
    assert names(found["execute_tool"])[0] == "generate_content sd"
    assert names(found["generate_content sd"]) == [*PHASES]
    (tool,) = collector.named(trace, "execute_tool")
    assert tool.attributes["gateway.tool"] == "generate_image"
    assert collector.parent_of(tool).name == "POST /mcp"


def test_requests_of_one_connection_are_traces_of_their_own(
    address: str, collector: Collector
) -> None:
    """The next one is read in the context of the one before, when that has been answered."""
    (trace, headers), (other, more) = new_trace(), new_trace()
    url = urlsplit(address)
    with socket.create_connection((url.hostname, url.port), timeout=60) as asking:
        asking.sendall(_head(headers) + _head(more))
        told = b""
        while told.count(b"HTTP/1.1 200") < 2:
            told += (piece := asking.recv(2**16))
            assert piece, told
    for one, given in ((trace, headers), (other, more)):
        (request,) = collector.wait_for(one, "GET /v1/models")
        assert request.kind == SERVER
        assert request.parent == given["traceparent"].split("-")[2]


def _head(headers: dict[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["GET /v1/models HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def test_what_cannot_be_told_of_a_request_hurts_nobody(address: str, collector: Collector) -> None:
    trace, headers = new_trace()
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    odd = [(b"User-Agent", b"\\x\xff"), (b"baggage", b"\xff\\x"), (b"tracestate", b"\xff=\\x")]
    with httpx.Client() as client:
        answer = client.get(f"{address}/v1/models?token=hunter2&x=%ff\xff", headers=[*raw, *odd])
    assert answer.status_code == 200
    (request,) = collector.wait_for(trace, "GET /v1/models")
    assert "hunter2" not in str(request)
    for given in ("00-0-0-0", "x" * 5000):
        assert httpx.get(f"{address}/v1/models", headers={"traceparent": given}).is_success


def test_probes_are_not_told_of(address: str, collector: Collector) -> None:
    trace, headers = new_trace()
    assert httpx.get(f"{address}/health/live", headers=headers).is_success
    assert httpx.get(f"{address}/metrics", headers=headers).is_success
    assert httpx.get(f"{address}/v1/models", headers=headers).is_success
    collector.wait_for(trace, "GET /v1/models")
    assert names(collector.of(trace)) == ["GET /v1/models"]


def test_a_latency_leads_to_its_trace(address: str, collector: Collector) -> None:
    trace, headers = new_trace()
    assert httpx.get(f"{address}/v1/models", headers=headers).is_success
    (request,) = collector.wait_for(trace, "GET /v1/models")
    plain = httpx.get(f"{address}/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert trace not in plain.text
    asked = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    answer = httpx.get(f"{address}/metrics", headers=asked)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"trace_id": trace, "span_id": request.id} in _exemplars(answer, "request")
    # Of encoding as well, whose thread knows of no trace.
    assert any(labels["trace_id"] for labels in _exemplars(answer, "encode"))
    for odd in ("application/openmetrics-text;version=x", "text/plain;version=1.0.0.x", "\xff;=;,"):
        assert httpx.get(f"{address}/metrics", headers=[(b"accept", odd.encode())]).is_success


def _exemplars(answer: httpx.Response, kind: str) -> list[dict[str, str]]:
    return [
        sample.exemplar.labels
        for family in text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if family.name == f"gateway_{kind}_seconds" and sample.exemplar
    ]


def test_the_log_names_the_trace(
    address: str, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    trace, headers = new_trace()
    asked = headers | {"x-request-id": "the-one"}
    assert httpx.get(f"{address}/v1/models", headers=asked).is_success
    (request,) = collector.wait_for(trace, "GET /v1/models")

    def lines() -> list[dict[str, Any]]:
        said = [one.msg for one in caplog.records if isinstance(one.msg, dict)]
        return [line for line in said if line.get("request_id") == "the-one"]

    _until(lambda: bool(lines()))
    ((line,),) = [lines()]
    assert (line["trace_id"], line["span_id"]) == (trace, request.id)


def _until(check: Any) -> None:
    async def waiting() -> None:
        async with asyncio.timeout(60):
            while not check():
                await asyncio.sleep(0.02)

    asyncio.run(waiting())
