"""What a Kubernetes router and an autoscaler read off a replica that really draws."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import create_app
from gateway.catalog.collection import Collection
from gateway.catalog.folders import load_catalog
from gateway.engine.local import LocalEngine
from gateway.job import AdapterUse, Event
from gateway.settings import Settings
from tests.engine import tiny, tiny_loras
from tests.engine.workbench import job
from tests.web.operator.scorers import (
    EVICTABLE,
    FREE,
    FULL,
    RESIDENT,
    Scraped,
    affinity,
    queue,
    residency,
    scraped,
)

LONG = 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    tiny.save("sd", folder / "models")
    for route in ("ink", "clay", "line"):
        tiny_loras.save("sd", folder / "adapters" / "sd", route, rank=8)
    return folder


class Replica:
    """One replica behind a router: its clients, and the engine that it has."""

    def __init__(self, client: httpx.AsyncClient, engine: LocalEngine) -> None:
        self.client = client
        self.engine = engine

    async def page(self) -> str:
        answer = await self.client.get("/metrics")
        assert answer.status_code == 200
        return answer.text

    async def seen(self) -> Scraped:
        return scraped(await self.page())

    async def load(self, name: str) -> None:
        given = {"lora_name": name, "lora_path": f"sd/{name}.safetensors"}
        answer = await self.client.post("/v1/load_lora_adapter", json=given)
        assert answer.status_code == 200, answer.text

    def draw(self, route: str, steps: int = LONG) -> AsyncGenerator[Event]:
        return self.engine.submit(job("sd", "a", 1, steps, adapters=(AdapterUse(route),)))

    async def until(self, is_so: Callable[[Scraped], bool]) -> Scraped:
        return scraped(await self.until_page(lambda page: is_so(scraped(page))))

    async def until_page(self, is_so: Callable[[str], bool]) -> str:
        async with asyncio.timeout(60):
            while not is_so(page := await self.page()):
                await asyncio.sleep(0.01)
        return page


@asynccontextmanager
async def replica(
    folder: Path, data: Path, others: Mapping[str, str] = {}, **more: Any
) -> AsyncIterator[Replica]:
    """One that knows no LoRA yet, of which as many fit as `adapter_gib` says.

    `others` are served as well, each on a device.
    """
    settings = Settings(
        data=data, adapters=folder / "adapters", threads=1, max_batch=1,
        **({"vllm_metrics": True} | more),
    )  # fmt: skip
    catalog = load_catalog((folder / "models",), ())
    beside = {id: replace(catalog.default, id=id, device=where) for id, where in others.items()}
    collection = Collection.of(replace(catalog, endpoints=catalog.endpoints | beside))
    engine = LocalEngine(collection, settings)
    app = create_app(settings, engine, collection)
    transport, base = httpx.ASGITransport(cast(Any, app)), "http://127.0.0.1:8000"
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield Replica(client, engine)


async def test_a_lora_is_scored_where_it_was_loaded(folder: Path, tmp_path: Path) -> None:
    async with replica(folder, tmp_path) as one:
        another = await one.seen()
        assert another.base == "sd"
        assert sorted(residency("ink", {"a": another, "b": another}).values()) == [
            FREE, FREE + 0.03  # its home, whichever that is
        ]  # fmt: skip
        await one.load("ink")
        seen = await one.seen()
        for model in ("ink", "sd:ink"):  # it is asked for by either
            scores = residency(model, {"a": another, "b": seen})
            assert scores["b"] == RESIDENT > scores["a"] >= FREE
        assert (another.num_on_gpu, seen.num_on_gpu) == (0, 1)
        assert seen.load_seconds > 0
        answer = await one.client.post("/v1/unload_lora_adapter", json={"lora_name": "ink"})
        assert answer.status_code == 200
        gone = await one.until(lambda seen: not seen.num_on_gpu)
        assert residency("ink", {"a": another, "b": gone})["b"] < RESIDENT


async def test_who_has_no_room_is_scored_by_whom_it_would_evict(
    folder: Path, tmp_path: Path
) -> None:
    size = (folder / "adapters" / "sd" / "ink.safetensors").stat().st_size / 2**30
    async with replica(folder, tmp_path, adapter_gib=1.5 * size) as one:
        await one.load("ink")
        full = await one.seen()
        assert (full.num_on_gpu, full.slots) == (1, 1)
        assert residency("clay", {"a": full})["a"] == EVICTABLE + 0.03
        async with aclosing(one.draw("ink")) as events:
            await anext(events)
            busy = await one.until(lambda seen: bool(seen.active))
            assert busy.active == {"ink", "sd:ink"}
            assert residency("clay", {"a": busy})["a"] == FULL + 0.03
        await one.load("clay")
        assert set((await one.seen()).loaded) == {"clay", "sd:clay"}


async def test_queues_and_adapters_under_way_are_told(folder: Path, tmp_path: Path) -> None:
    async with replica(folder, tmp_path) as one:
        idle = await one.seen()
        for name in ("ink", "clay"):
            await one.load(name)
        running, waiting = one.draw("ink"), one.draw("clay")
        async with aclosing(running), aclosing(waiting):
            await anext(running)
            page = await one.page()
            seen = scraped(page)
            assert (seen.running, seen.waiting) == (1, 1)
            assert queue({"a": seen, "b": idle}) == {"a": 0.0, "b": 1.0}
            assert seen.awaited == {"clay", "sd:clay"}
            assert affinity("ink", seen) == 1.0
            assert _labels(page, "gateway_adapter_in_use") == [
                {"model": "sd:ink", "state": "running"}, {"model": "sd:clay", "state": "waiting"}
            ]  # fmt: skip
            await one.until_page(lambda page: _values(page, "gateway_queued_seconds") > [0])
        page = await one.until_page(lambda page: _values(page, "gateway_queued_seconds") == [0])
        assert _labels(page, "gateway_queued_seconds") == [{"replica": "0"}]


async def test_what_two_devices_do_is_told_in_sum(folder: Path, tmp_path: Path) -> None:
    others = {"beside": "cpu:0"}
    async with replica(folder, tmp_path, others) as one, AsyncExitStack() as drawing:
        for endpoint in ("sd", "beside"):
            for seed in range(2):
                events = one.engine.submit(job(endpoint, "a", seed, LONG))
                await drawing.enter_async_context(aclosing(events))
        page = await one.until_page(lambda page: _values(page, "gateway_running_samples") == [2])
        assert _values(page, "gateway_queue_depth") == [2]
        seen = scraped(page)
        assert (seen.running, seen.waiting) == (2, 2)
        await drawing.aclose()
        page = await one.until_page(lambda page: _values(page, "gateway_running_samples") == [0])
        assert _values(page, "gateway_queue_depth") == [0]


async def test_without_the_setting_our_names_alone_are_told(folder: Path, tmp_path: Path) -> None:
    async with replica(folder, tmp_path, vllm_metrics=False) as one:
        await one.load("ink")
        page = await one.page()
    assert "vllm:" not in page
    assert _labels(page, "gateway_adapter_loaded") == [
        {"model": "sd:ink", "level": "gpu", "rank": "8"}
    ]
    assert _values(page, "gateway_adapter_slots") > [1]
    assert _values(page, "gateway_adapter_load_seconds_count") > [0]


def _values(page: str, name: str) -> list[float]:
    return [
        one.value
        for family in text_string_to_metric_families(page)
        for one in family.samples
        if one.name == name
    ]


def _labels(page: str, name: str) -> list[dict[str, str]]:
    return [
        one.labels
        for family in text_string_to_metric_families(page)
        for one in family.samples
        if one.name == name
    ]
