"""`gateway keys`: who may ask."""

from contextlib import AbstractContextManager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gateway.accounts.keys import Keys
from gateway.cli.options import setting_options
from gateway.errors import NotFound
from gateway.fronts.holdings import opened_keys, signer_of
from gateway.settings import Settings, read_settings

LAST_KEY = """\
That was the last key. A gateway that runs now answers nobody until there is another. One that
is started without a key answers its own machine if bound to loopback, and else does not start."""


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    A running server sees changes at once, all fronts of a database within a second or so.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--model", "models", multiple=True, help="a model id it may use; repeatable; default: any"
)
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="default: no limit")
@click.option("--concurrent-samples", type=click.IntRange(min=1), help="default: no limit")
@click.option("--operator", is_flag=True, help="it sees what all keys do, and the metrics")
@setting_options("data", "database")
def create(
    name: str,
    models: tuple[str, ...],
    requests_per_minute: int | None,
    concurrent_samples: int | None,
    operator: bool,
    **flags: Any,
) -> None:
    """Create a key and print its secret, which is shown only now."""
    with _opened(flags) as keys:
        key, secret = keys.create(
            name,
            models=models,
            requests_per_minute=requests_per_minute,
            concurrent_samples=concurrent_samples,
            operator=operator,
        )
    click.echo(f"key {key.id} ({name}); keep its secret, it is not shown again:", err=True)
    click.echo(secret)


@keys.command("list")
@setting_options("data", "database")
def list_keys(**flags: Any) -> None:
    """List the keys, without their secrets."""
    table = Table("id", "name", "role", "models", "requests/minute", "concurrent samples")
    with _opened(flags) as keys:
        found = keys.whole()
    for key in found.values():
        limits = (key.requests_per_minute, key.concurrent_samples)
        shown = ("–" if limit is None else str(limit) for limit in limits)
        role = "operator" if key.operator else "user"
        table.add_row(key.id, key.name, role, ", ".join(key.models) or "any", *shown)
    Console().print(table)


@keys.command()
@click.argument("key_id")
@setting_options("data", "database")
def revoke(key_id: str, **flags: Any) -> None:
    """Forget a key."""
    with _opened(flags) as keys:
        if not keys.revoke(key_id):
            raise NotFound(f"no key '{key_id}'; see: gateway keys list")
        is_last = not keys.keys()
    click.echo(f"revoked {key_id}", err=True)
    if is_last:
        click.echo(LAST_KEY, err=True)


@keys.command("webhook-secret")
@click.argument("key_id", required=False)
@setting_options("data", "database")
def webhook_secret(key_id: str | None, **flags: Any) -> None:
    """Print the secret that signs a key's webhooks (Standard Webhooks).

    Without KEY_ID: the one of runs that were asked for without a key.
    """
    settings = _settings(flags)
    if key_id is None:
        click.echo(signer_of(settings).webhook_secrets()[0])
        return
    with opened_keys(settings) as keys:
        key = keys.whole().get(key_id)
    if key is None:
        raise NotFound(f"no key '{key_id}'; see: gateway keys list")
    click.echo(key.webhook_secret)


def _opened(flags: dict[str, Any]) -> AbstractContextManager[Keys]:
    return opened_keys(_settings(flags))


def _settings(flags: dict[str, Any]) -> Settings:
    """The settings, whose database has been looked at if there is one.

    Raises:
        SettingsError: it cannot be used.
    """
    settings = read_settings(flags)
    if settings.has_server:
        from gateway.cli.database import check_database  # noqa: PLC0415  takes a moment

        check_database(settings)
    return settings
