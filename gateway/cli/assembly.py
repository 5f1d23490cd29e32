"""What `gateway serve` serves: checked as far as it can be, then put together."""

import sys

import click
import msgspec
import structlog
from litestar import Litestar

from gateway.app import create_app
from gateway.catalog.bundle import DEFAULT, served_collection, served_ids
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Model
from gateway.catalog.collection import Collection
from gateway.catalog.survey.survey import check_model
from gateway.cli.database import check_database
from gateway.cli.greeting import greeting
from gateway.cli.serve import check_door
from gateway.engine.protocol import Engine
from gateway.settings import Settings
from gateway.telemetry.log import configure_logs

log = structlog.get_logger()


def assembled(settings: Settings, port: int) -> tuple[Litestar, Engine]:
    """The application and its engine; on a terminal it greets who started it once it is open.

    Raises:
        SettingsError: the database cannot be used.
        CardError: none of the models that were asked for can.
    """
    check_database(settings)
    if settings.has_server:
        check_door(settings)
    configure_logs()
    collection = served_collection(settings)
    check_models(settings, collection)

    engine = _engine(collection, settings)
    app = create_app(settings, engine, collection)
    if sys.stdout.isatty():
        app.on_startup.append(lambda: click.echo(greeting(settings, collection.latest, port)))
    return app, engine


def _engine(collection: Collection, settings: Settings) -> Engine:
    """The engine in this process, or one of several replicas.

    Raises:
        SettingsError: the devices are none, or what several need is not installed.
    """
    if settings.devices or settings.cluster:
        from gateway.cluster.devices import places_here  # noqa: PLC0415  not for one device
        from gateway.cluster.grounds import engine_over  # noqa: PLC0415

        places = None if settings.cluster else places_here(settings.devices)
        if places is None or len(places) > 1:
            return engine_over(places, collection, settings)
        settings = msgspec.structs.replace(settings, device=places[0].name)
    from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

    return LocalEngine(collection, settings)


def check_models(settings: Settings, collection: Collection) -> None:
    """See that something of what was asked for by name can be used, or fetched.

    What cannot has its line and stops nothing else; what merely lies in a folder may come yet.

    Raises:
        CardError: nothing of it can.
    """
    catalog, faults = collection.latest, dict[str, CardError]()
    named = served_ids(settings, catalog) if settings.endpoints else [DEFAULT]
    for id in named:
        try:
            check_model(Model(catalog.endpoints[id]), catalog)
        except CardError as fault:
            faults[id] = fault
    if named and len(faults) == len(named):
        raise next(iter(faults.values()))
    for id, told in faults.items():
        if told != collection.faults().get(id):  # else it has been said
            log.warning("a model cannot be used", model=id, fault=str(told))
