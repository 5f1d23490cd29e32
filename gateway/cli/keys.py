"""`gateway keys`: who may ask."""

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gateway.accounts.keys import KeyStore
from gateway.cli.options import setting_options
from gateway.errors import NotFound
from gateway.runs.hooks.webhooks import gateway_secret
from gateway.settings import read_settings

LAST_KEY = """\
That was the last key. A gateway that runs now answers nobody until there is another. One that
is started without a key answers its own machine if bound to loopback, and else does not start."""


@click.group()
def keys() -> None:
    """Create, list and revoke API keys. A running server sees changes at once."""


@keys.command()
@click.argument("name")
@click.option(
    "--model", "models", multiple=True, help="a model id it may use; repeatable; default: any"
)
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="default: no limit")
@click.option("--concurrent-samples", type=click.IntRange(min=1), help="default: no limit")
@click.option("--operator", is_flag=True, help="it sees what all keys do, and the metrics")
@setting_options("data")
def create(
    name: str,
    models: tuple[str, ...],
    requests_per_minute: int | None,
    concurrent_samples: int | None,
    operator: bool,
    **flags: Any,
) -> None:
    """Create a key and print its secret, which is shown only now."""
    key, secret = _store(flags).create(
        name,
        models=models,
        requests_per_minute=requests_per_minute,
        concurrent_samples=concurrent_samples,
        operator=operator,
    )
    click.echo(f"key {key.id} ({name}); keep its secret, it is not shown again:", err=True)
    click.echo(secret)


@keys.command("list")
@setting_options("data")
def list_keys(**flags: Any) -> None:
    """List the keys, without their secrets."""
    table = Table("id", "name", "role", "models", "requests/minute", "concurrent samples")
    for key in _store(flags).whole().values():
        limits = (key.requests_per_minute, key.concurrent_samples)
        shown = ("–" if limit is None else str(limit) for limit in limits)
        role = "operator" if key.operator else "user"
        table.add_row(key.id, key.name, role, ", ".join(key.models) or "any", *shown)
    Console().print(table)


@keys.command()
@click.argument("key_id")
@setting_options("data")
def revoke(key_id: str, **flags: Any) -> None:
    """Forget a key."""
    store = _store(flags)
    if not store.revoke(key_id):
        raise NotFound(f"no key '{key_id}'; see: gateway keys list")
    click.echo(f"revoked {key_id}", err=True)
    if not store.keys():
        click.echo(LAST_KEY, err=True)


@keys.command("webhook-secret")
@click.argument("key_id", required=False)
@setting_options("data")
def webhook_secret(key_id: str | None, **flags: Any) -> None:
    """Print the secret that signs a key's webhooks (Standard Webhooks).

    Without KEY_ID: the one of runs that were asked for without a key.
    """
    if key_id is None:
        click.echo(gateway_secret(read_settings(flags).data))
        return
    key = _store(flags).whole().get(key_id)
    if key is None:
        raise NotFound(f"no key '{key_id}'; see: gateway keys list")
    click.echo(key.webhook_secret)


def _store(flags: dict[str, Any]) -> KeyStore:
    return KeyStore(read_settings(flags).data)
