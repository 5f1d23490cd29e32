"""The application, joined top to bottom: settings, engine, studio, dialects, middleware."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import structlog
from litestar import Litestar
from litestar.exceptions import HTTPException

from gateway.accounts.limits import Limits
from gateway.catalog.bundle import folders, served_collection
from gateway.catalog.catalog import Catalog
from gateway.catalog.collection import Collection
from gateway.engine.protocol import Engine
from gateway.errors import GatewayError
from gateway.fronts.holdings import holdings_of
from gateway.images.objects import Objects
from gateway.images.receipt import receipt_of, receipt_text
from gateway.images.signing import Signer
from gateway.images.store import PictureStore
from gateway.job import Finished, Job
from gateway.outside.guard import Guard
from gateway.outside.outbound import Outbound
from gateway.runs.drawing.perform import Equipment
from gateway.runs.durable.calendar import Calendar
from gateway.runs.runs import Runs
from gateway.settings import Settings
from gateway.studio import Studio
from gateway.telemetry import traces
from gateway.telemetry.disks import watch_disks
from gateway.telemetry.gathered import GATHERED
from gateway.telemetry.gauges import Gauges
from gateway.telemetry.log import configure_logs
from gateway.telemetry.metrics import BUILD
from gateway.telemetry.recent import RecentRequests
from gateway.telemetry.vitals import LOADING, Look, Vitals
from gateway.web.automatic1111 import drawing, listing, options
from gateway.web.automatic1111.choices import Choices
from gateway.web.comfyapi import models as router_models
from gateway.web.comfyapi.router import comfyapi_router
from gateway.web.comfydeploy import files as comfydeploy_files
from gateway.web.comfydeploy.router import comfydeploy_router
from gateway.web.comfyui.router import comfyui_router
from gateway.web.door.answers import faults, pictures
from gateway.web.door.answers.heads import Heads
from gateway.web.door.answers.schema import openapi_config
from gateway.web.door.asking import asker_of
from gateway.web.door.auth import Doorkeeper
from gateway.web.door.desk import Desk
from gateway.web.door.inside import ask_inside
from gateway.web.door.ledger import QUIET, Ledger
from gateway.web.door.reception import Reception
from gateway.web.friendli import generations as friendli
from gateway.web.huggingface import inference as huggingface
from gateway.web.mcp.endpoint import Endpoint
from gateway.web.openai import batches, chat, edits, generations, models, webhooks
from gateway.web.openai import files as openai_files
from gateway.web.openai.responses import routes as responses
from gateway.web.openai.responses.kept import KeptAnswers
from gateway.web.operator import health, loras, replicas, status
from gateway.web.pages import pages, reference

SWEEP_SECONDS = 60

log = structlog.get_logger()


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    catalog: Catalog | Collection | None = None,
) -> Litestar:
    """Build the application; without an engine, one in this process."""
    collection = Collection.of(catalog or served_collection(settings))
    engine = engine or _local_engine(collection, settings)
    collection.learn(engine.runs_scheduler, engine.abilities)
    configure_logs()
    telling = traces.begin(settings)
    objects = Objects(settings)
    held = holdings_of(settings)
    store = PictureStore(settings, objects, held.signer)
    answers = KeptAnswers(objects, settings)
    studio = Studio(engine, collection, settings)
    door = Doorkeeper(settings, held.keys, Limits(held.tally))
    outbound = Outbound(Guard(settings.url_allow))
    desk = Desk(studio, store, door, settings, outbound)
    choices = Choices(desk, objects)
    agents = Endpoint(desk)
    gauges = Gauges(GATHERED, engine, collection, with_vllm=settings.vllm_metrics)
    recent = RecentRequests()
    vitals = Vitals()
    vitals.watch("engine", _engine_look(engine), is_vital=True, fresh_seconds=0)
    vitals.watch("keys", _keys_look(door), is_vital=True, fresh_seconds=0)
    vitals.watch("store", objects.check, is_vital=False)
    _tell_of_process(settings)

    @asynccontextmanager
    async def with_runs(app: Litestar) -> AsyncIterator[None]:
        """Left last but for the traces: the engine drains before the runs are put down."""
        await objects.prove()
        equipment = _equipment(studio, objects, held.signer)
        async with (
            held.followed(collection, folders(settings), engine.notice),
            Runs.opened(equipment, held.keys, ask_inside(app)) as runs,
        ):
            app.state.runs = runs
            vitals.watch("database", runs.check, is_vital=False)
            yield

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep((store, answers), app.state.runs.calendar))
        starting = asyncio.create_task(_start(engine))
        try:
            yield
        finally:
            for task in (sweeping, starting):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await agents.close()
            await engine.stop(settings.grace_seconds)
            vitals.close()
            studio.close()

    app = Litestar(
        route_handlers=[
            *generations.routes(desk),
            *friendli.routes(desk),
            *huggingface.routes(desk),
            *edits.routes(desk),
            *chat.routes(desk),
            *responses.routes(desk, answers),
            *drawing.routes(desk, choices, f"image-gateway {version('image-gateway')}"),
            *options.routes(desk, choices),
            *listing.routes(desk, choices),
            *openai_files.routes(desk),
            *batches.routes(desk),
            *webhooks.routes(desk),
            *models.routes(desk),
            *loras.routes(desk, held.board),
            *replicas.routes(desk),
            *pictures.routes(store),
            *comfydeploy_files.PUBLIC_ROUTES,
            comfydeploy_router(asker_of(door, settings)),
            comfyui_router(asker_of(door, settings), door),
            comfyapi_router(asker_of(door, settings)),
            router_models.router(asker_of(door, settings)),
            *agents.routes(),
            *health.routes(vitals, door, gauges),
            *pages.PAGES,
            reference.document,
            *status.routes(desk, recent),
        ],
        exception_handlers={
            GatewayError: faults.answer_gateway_error,
            HTTPException: faults.answer_http_exception,
            Exception: faults.answer_bug,
        },
        cors_config=door.origins,
        openapi_config=openapi_config(version("image-gateway")),
        request_max_body_size=int(settings.max_body_mib * 2**20),
        lifespan=[telling, with_runs, lifespan],
        before_request=traces.naming(),
        logging_config=None,
        debug=False,
    )
    app.state.vitals = vitals
    # Around the router, so that what it refuses itself has a number too.
    paths = (route.path for route in app.routes)
    received = Reception(Heads(app.asgi_handler), settings.public_url, paths)
    app.asgi_handler = traces.around(Ledger(received, recent), QUIET)
    return app


def _local_engine(collection: Collection, settings: Settings) -> Engine:
    from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

    return LocalEngine(collection, settings)


def _tell_of_process(settings: Settings) -> None:
    """Have the metrics tell its version, and the room where it writes."""
    BUILD.labels(version("image-gateway")).set(1)
    folders = {"data": settings.data}
    if "://" not in settings.store_location:
        folders["store"] = Path(settings.store_location).expanduser()
    watch_disks(folders)


def _engine_look(engine: Engine) -> Look:
    async def look() -> str | None:
        status = engine.status()
        return None if status.ready else status.fault or LOADING

    return look


def _keys_look(door: Doorkeeper) -> Look:
    async def look() -> str | None:
        return None if door.can_admit else "no API key"

    return look


def _equipment(studio: Studio, objects: Objects, signer: Signer) -> Equipment:
    """What runs are drawn with; their pictures carry the same receipts as any other."""

    def describe(job: Job, finished: Finished) -> dict[str, str]:
        if not studio.settings.receipts:
            return {}
        return receipt_text(receipt_of(job, finished))

    return Equipment(
        engine=studio.engine,
        collection=studio.collection,
        settings=studio.settings,
        darkroom=studio.darkroom,
        describe=describe,
        objects=objects,
        signer=signer,
    )


async def _start(engine: Engine) -> None:
    """Load beside the open door: live at once, ready when warm."""
    try:
        await engine.start()
    except Exception as error:
        log.critical("the engine could not start", exc_info=error)


async def _sweep(kept: tuple[PictureStore, KeptAnswers], calendar: Calendar) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            for store in kept:
                await store.sweep(datetime.fromtimestamp(calendar.now(), UTC))
        except Exception as error:
            log.error("sweeping pictures failed", exc_info=error)
