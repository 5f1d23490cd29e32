"""A catalogue of one tiny endpoint, and engines over replicas in this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.catalog.folders import load_catalog
from gateway.cluster.crew import Patience
from gateway.cluster.engine import ClusterEngine
from gateway.settings import Settings
from tests.cluster.near import NearGround
from tests.engine import tiny, tiny_loras
from tests.engine.small import TORN, SmallEngine

SHORT = Patience(
    beat_seconds=0.02, silent_seconds=0.4, times_longest=0, pause_seconds=0.01,
    most_pause_seconds=0.05,
)  # fmt: skip
Crew = Callable[..., AbstractAsyncContextManager[tuple[ClusterEngine, NearGround]]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one tiny endpoint, with an adapter and another whose file is torn."""
    folder = tmp_path_factory.mktemp("catalog")
    tiny.save("sd", folder / "models", steps={"min": 1, "max": 1000, "default": 4})
    tiny_loras.save("sd", folder / "adapters" / "sd", "ink")
    (folder / "adapters" / "sd" / f"{TORN}.safetensors").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="session")
def catalog(folder: Path) -> Catalog:
    return load_catalog((folder / "models",), (folder / "adapters",))


@pytest.fixture
def crew(catalog: Catalog) -> Crew:
    """Two small replicas, `a` and `b`, started; settings are the engine's."""

    @asynccontextmanager
    async def started(
        make: Any = SmallEngine, names: tuple[str, ...] = ("a", "b"), **settings: Any
    ) -> AsyncIterator[tuple[ClusterEngine, NearGround]]:
        ground = NearGround(make, *names)
        engine = ClusterEngine(Collection.of(catalog), Settings(**settings), ground.ground, SHORT)
        try:
            await engine.start()
            yield engine, ground
        finally:
            await engine.stop(0)

    return started
