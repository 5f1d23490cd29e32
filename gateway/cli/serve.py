"""`gateway serve`: answer at once that it lives, and requests as soon as it can."""

import logging
import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway.cli.options import setting_options
from gateway.engine.device.heap import settle_heap
from gateway.fronts.holdings import has_keys
from gateway.outside.addresses import is_loopback
from gateway.settings import Settings, SettingsError, read_settings, variable
from gateway.web.server.ports import bound_sockets
from gateway.web.server.server import Server

if TYPE_CHECKING:
    from litestar import Litestar

    from gateway.engine.protocol import Engine

PROBE_BYTES = 64 * 1024


@click.command()
@click.argument("endpoints", nargs=-1)
@setting_options()
def serve(endpoints: tuple[str, ...], **flags: Any) -> None:
    """Serve ENDPOINTS (default: the bundled `emoji`) until told to stop."""
    settle_heap()
    settings = read_settings({"endpoints": endpoints, **flags})
    check_folder(settings)
    if not settings.has_server:  # else when that has been seen to answer
        check_door(settings)
    if settings.devices or settings.cluster:
        from gateway.cluster.devices import check_devices  # noqa: PLC0415  nothing of it else

        check_devices(settings)
    with bound_sockets(settings) as sockets:
        port = sockets[0].getsockname()[1]
        Server(partial(_assembled, settings, port), settings).run(sockets)
    end()


def _assembled(settings: Settings, port: int) -> "tuple[Litestar, Engine]":
    """All that takes seconds, and is not imported before the port answers."""
    from gateway.cli.assembly import assembled  # noqa: PLC0415

    return assembled(settings, port)


def end() -> NoReturn:
    """End the process although a thread may still be loading a model, which nothing can stop."""
    logging.shutdown()
    os._exit(0)


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


def check_door(settings: Settings) -> None:
    """Refuse to start where nobody could be answered.

    Raises:
        SettingsError: bound wider than loopback with no API key and no `--no-auth`.
        KeyFileError: the file of the keys cannot be read.
    """
    if settings.no_auth or has_keys(settings) or is_loopback(settings.host):
        return
    if settings.operator_key:
        return
    raise SettingsError(
        f"--host {settings.host} answers nobody without an API key: create one first "
        "(gateway keys create NAME), or say --no-auth"
    )
