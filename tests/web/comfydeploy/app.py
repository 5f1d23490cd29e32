"""The ComfyDeploy API on a small engine, built inside the test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request
from litestar.exceptions import HTTPException
from litestar.testing import TestClient

from gateway.accounts.keys import KeyStore
from gateway.catalog.collection import Collection
from gateway.errors import GatewayError, Unauthorized
from gateway.images.darkroom import Darkroom
from gateway.runs.drawing.perform import Equipment
from gateway.runs.runs import Runs
from gateway.settings import Settings
from gateway.web.comfydeploy.files import PUBLIC_ROUTES
from gateway.web.comfydeploy.router import comfydeploy_router
from gateway.web.door.answers.faults import answer_bug, answer_gateway_error, answer_http_exception
from gateway.web.door.asking import Asker
from tests.runs.house import refuse
from tests.small_engine import TestEngine, small_catalog

Client = TestClient[Litestar]


async def free(_num_runs: int) -> None:
    """Nobody's runs are counted here."""


def build_app(settings: Settings, engine: TestEngine) -> Litestar:
    """Keys are names here: `Bearer ann` asks as ann."""

    async def ask(request: Request[Any, Any, Any]) -> Asker:
        owner = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not owner:
            raise Unauthorized("Invalid or missing token")
        base_url = str(request.base_url).rstrip("/")
        return Asker(owner, base_url, lambda _model: None, free)

    @asynccontextmanager
    async def with_runs(app: Litestar) -> AsyncIterator[None]:
        equipment = Equipment(
            engine=engine,
            collection=Collection.of(small_catalog()),
            settings=settings,
            darkroom=Darkroom(settings),
        )
        async with Runs.opened(equipment, KeyStore(settings.data), refuse) as runs:
            app.state.runs = runs
            yield

    routes: list[Any] = [comfydeploy_router(ask), *PUBLIC_ROUTES]
    return Litestar(
        routes,
        lifespan=[with_runs],
        openapi_config=None,
        exception_handlers={
            GatewayError: answer_gateway_error,
            HTTPException: answer_http_exception,
            Exception: answer_bug,
        },
    )


@contextmanager
def served(
    folder: Path, engine: TestEngine | None = None, **settings: Any
) -> Iterator[tuple[Client, TestEngine]]:
    """A client that asks as ann, and the engine that draws for it."""
    engine = engine or TestEngine()
    app = build_app(Settings(data=folder, **settings), engine)
    with TestClient(app) as client:
        client.headers["Authorization"] = "Bearer ann"
        yield client, engine
