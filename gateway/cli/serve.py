"""`gateway serve`: check everything that can be checked, then answer requests."""

import logging
import os
import tempfile
from typing import Any, NoReturn

import click
from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.catalog.bundle import DEFAULT, served_collection, served_ids
from gateway.catalog.catalog import Catalog
from gateway.catalog.weights import check_adapter, check_weights
from gateway.cli.options import setting_options
from gateway.runs.database import close_database, open_database
from gateway.settings import Settings, SettingsError, read_settings, variable
from gateway.web.door.origins import is_loopback
from gateway.web.server.ports import bound_sockets
from gateway.web.server.server import Server

PROBE_BYTES = 64 * 1024


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
        collection = served_collection(settings)
        check_files(settings, collection.latest)

        from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

        engine = LocalEngine(collection, settings)
        Server(create_app(settings, engine, collection), engine, settings).run(sockets)
    end()


def end() -> NoReturn:
    """End the process although a thread may still be loading a model, which nothing can stop."""
    logging.shutdown()
    os._exit(0)


def check_files(settings: Settings, catalog: Catalog) -> None:
    """See that what was asked for by name is there; what merely lies in the folder may come yet.

    Raises:
        CardError: an endpoint's weights or an adapter's file are not, and why.
    """
    named = served_ids(settings, catalog) if settings.endpoints else [DEFAULT]
    for id in named:
        check_weights(catalog.endpoints[id])
    for adapter in catalog.adapters.values():
        check_adapter(adapter)


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
