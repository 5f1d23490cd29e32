"""`gateway serve`: check everything that can be checked, then answer requests."""

import asyncio
import socket
from typing import Any

import click
import uvicorn

from gateway.accounts.keys import KeyStore
from gateway.app import create_app
from gateway.catalog.bundle import served_catalog
from gateway.catalog.weights import check_adapter, check_weights
from gateway.cli.options import setting_options
from gateway.engine.protocol import Engine
from gateway.settings import Settings, SettingsError, read_settings
from gateway.web.door.origins import is_loopback


@click.command()
@click.argument("endpoints", nargs=-1)
@setting_options()
def serve(endpoints: tuple[str, ...], **flags: Any) -> None:
    """Serve ENDPOINTS (default: the bundled `emoji`) until told to stop."""
    settings = read_settings({"endpoints": endpoints, **flags})
    check_door(settings)
    catalog = served_catalog(settings)

    for card in catalog.endpoints.values():
        check_weights(card)
    for adapter in catalog.adapters.values():
        check_adapter(adapter)

    from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

    engine = LocalEngine(catalog, settings)
    config = uvicorn.Config(
        create_app(settings, engine),
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace_seconds) + 5,
    )
    GracefulServer(config, engine, settings.grace_seconds).run()


class GracefulServer(uvicorn.Server):
    """A server whose engine drains while the last responses are sent."""

    def __init__(self, config: uvicorn.Config, engine: Engine, grace_seconds: float) -> None:
        super().__init__(config)
        self.engine = engine
        self.grace_seconds = grace_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new jobs at once, let running ones finish for the grace, then close."""
        draining = asyncio.create_task(self.engine.stop(self.grace_seconds))
        await super().shutdown(sockets)
        await draining


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
