"""The application, joined top to bottom: settings, engine, studio, dialects, middleware."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import structlog
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware

from gateway.bundle import served_catalog
from gateway.catalog import Catalog
from gateway.engine.protocol import Engine
from gateway.errors import GatewayError
from gateway.images.store import PictureStore
from gateway.keys import KeyStore
from gateway.log import configure_logs
from gateway.settings import Settings
from gateway.studio import Studio
from gateway.web import faults, files, friendli, health, models, openai, page, status
from gateway.web.auth import Doorkeeper
from gateway.web.desk import Desk
from gateway.web.ledger import Ledger
from gateway.web.recent import RecentRequests
from gateway.web.schema import openapi_config

SWEEP_SECONDS = 60
EXPOSED = ["x-request-id", "retry-after", "openai-processing-ms", "x-rendered-size", "x-seed"]
ALLOWED = [
    "authorization", "content-type", "accept", "api-key", "x-api-key", "idempotency-key",
    "openai-organization", "openai-project", "x-request-id", "x-request-timeout",
    "x-stainless-arch", "x-stainless-lang", "x-stainless-os", "x-stainless-package-version",
    "x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version",
    "x-stainless-timeout", "x-stainless-async", "x-stainless-read-timeout",
    "x-stainless-helper-method",
]

log = structlog.get_logger()


def create_app(
    settings: Settings, engine: Engine | None = None, catalog: Catalog | None = None
) -> Litestar:
    """Build the application; without an engine, one in this process."""
    catalog = catalog or served_catalog(settings)
    engine = engine or _local_engine(catalog, settings)
    configure_logs()
    store = PictureStore(settings)
    studio = Studio(engine, store, catalog, settings)
    door = Doorkeeper(settings, KeyStore(settings.data))
    desk = Desk(studio, door, settings)
    recent = RecentRequests()

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep(store))
        starting = asyncio.create_task(_start(engine))
        try:
            yield
        finally:
            for task in (sweeping, starting):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await engine.stop(settings.grace_seconds)
            studio.close()

    return Litestar(
        route_handlers=[
            *openai.routes(desk),
            *friendli.routes(desk),
            *models.routes(desk),
            *files.routes(store),
            *health.routes(engine),
            *page.PAGES,
            *status.routes(desk, recent),
        ],
        middleware=[DefineMiddleware(Ledger, recent=recent)],
        exception_handlers={
            GatewayError: faults.answer_gateway_error,
            HTTPException: faults.answer_http_exception,
            Exception: faults.answer_bug,
        },
        cors_config=CORSConfig(
            allow_origins=list(settings.cors_origins),
            allow_headers=ALLOWED,
            expose_headers=EXPOSED,
        ),
        openapi_config=openapi_config(version("image-gateway")),
        request_max_body_size=int(settings.max_body_mib * 2**20),
        lifespan=[lifespan],
        logging_config=None,
        debug=False,
    )


def _local_engine(catalog: Catalog, settings: Settings) -> Engine:
    from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

    return LocalEngine(catalog, settings)


async def _start(engine: Engine) -> None:
    """Load beside the open door: live at once, ready when warm."""
    try:
        await engine.start()
    except Exception as error:
        log.critical("the engine could not start", exc_info=error)


async def _sweep(store: PictureStore) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await store.sweep()
        except Exception as error:
            log.error("sweeping pictures failed", exc_info=error)
