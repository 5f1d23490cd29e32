"""`gateway serve`: check everything that can be checked, then answer requests."""

import logging
import os
import tempfile
from typing import Any, NoReturn

import click
import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.catalog.bundle import DEFAULT, served_collection, served_ids
from gateway.catalog.cards import CardError
from gateway.catalog.catalog import Model
from gateway.catalog.collection import Collection
from gateway.catalog.survey import check_model
from gateway.cli.options import setting_options
from gateway.runs.database import close_database, open_database
from gateway.settings import Settings, SettingsError, read_settings, variable
from gateway.telemetry.log import configure_logs
from gateway.web.door.origins import is_loopback
from gateway.web.server.ports import bound_sockets
from gateway.web.server.server import Server

PROBE_BYTES = 64 * 1024

log = structlog.get_logger()


@click.command()
@click.argument("endpoints", nargs=-1)
@setting_options()
def serve(endpoints: tuple[str, ...], **flags: Any) -> None:
    """Serve ENDPOINTS (default: the bundled `emoji`) until told to stop."""
    settings = read_settings({"endpoints": endpoints, **flags})
    check_folder(settings)
    check_door(settings)
    with bound_sockets(settings) as sockets:
        check_database(settings)
        configure_logs()
        collection = served_collection(settings)
        check_models(settings, collection)

        from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

        engine = LocalEngine(collection, settings)
        Server(create_app(settings, engine, collection), engine, settings).run(sockets)
    end()


def end() -> NoReturn:
    """End the process although a thread may still be loading a model, which nothing can stop."""
    logging.shutdown()
    os._exit(0)


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


def check_folder(settings: Settings) -> None:
    """See that the data folder can be written to.

    Raises:
        SettingsError: it cannot, and why.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
    except OSError as error:
        where = f"{variable('data')} (--data) = {str(settings.data)!r}"
        raise SettingsError(f"{where}: {error.strerror}") from None


def check_database(settings: Settings) -> None:
    """See that the database can be used, before anything takes seconds or is taken up.

    Raises:
        SettingsError: it cannot, and why.
    """
    try:
        close_database(open_database(settings))
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        # A URL may hold a password: it is named, not shown.
        where = variable("database") if settings.database else f"runs.sqlite in {settings.data}"
        raise SettingsError(f"{where}: {reason}") from None


def check_door(settings: Settings) -> None:
    """Refuse to start where nobody could be answered.

    Raises:
        SettingsError: bound wider than loopback with no API key and no `--no-auth`.
        KeyFileError: the file of the keys cannot be read.
    """
    if settings.no_auth or KeyStore(settings.data).whole() or is_loopback(settings.host):
        return
    raise SettingsError(
        f"--host {settings.host} answers nobody without an API key: create one first "
        "(gateway keys create NAME), or say --no-auth"
    )
