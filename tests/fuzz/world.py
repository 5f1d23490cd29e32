"""A gateway in this process to hunt in, over an engine that paints plain pictures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute

from gateway.app import create_app
from gateway.settings import Settings
from tests.fuzz import comfyapi
from tests.fuzz.seeds import Things, is_reached, of_route, requests
from tests.fuzz.wire import Sent
from tests.small_engine import TestEngine, small_catalog


@asynccontextmanager
async def gateway(
    data: Path, database: str | None = None, **settings: Any
) -> AsyncIterator[Litestar]:
    """An application, started. It fetches nothing: mutated URLs could lead anywhere."""
    given = Settings(
        endpoints=("tiny",),
        data=data,
        database=database,
        fetch_urls=False,
        url_allow=("127.0.0.1",),
        max_body_mib=1,
        **settings,
    )
    app = create_app(given, TestEngine(), small_catalog())
    async with app.lifespan():
        yield app


def valid_requests(app: Litestar, named: Things) -> list[Sent]:
    """Valid requests of every dialect, and one for every other route of the application."""
    found = [*requests(named), *comfyapi.requests(named)]
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            methods = sorted(set(route.methods) - {"OPTIONS"})
            for method in methods if len(methods) < 4 else ["POST"]:  # one handler for all of them
                if not is_reached(route.path, method, found):
                    found.append(of_route(method, route.path, named))
    return found
