"""What `gateway serve` says on a terminal once it is open: where, what, how, and to whom."""

from importlib.metadata import version

from gateway.catalog.catalog import Catalog
from gateway.fronts.holdings import has_keys
from gateway.outside.addresses import is_loopback
from gateway.settings import Settings

SHOWN_MODELS = 8
EVERYWHERE = ("", "0.0.0.0", "::")
"""Hosts that a browser on this machine cannot open by their names."""


def greeting(settings: Settings, catalog: Catalog, port: int) -> str:
    """Lines for a person; the curl among them draws when it is pasted."""
    url = (settings.public_url or f"http://{_host(settings)}:{port}").rstrip("/")
    keyed = not settings.no_auth and has_keys(settings)
    models = [model.id for model in catalog.models()]
    rows = [
        ("page", f"{url}/"),
        ("models", _listed(models)),
        ("clients", f"OpenAI's: base URL {url}/v1, {'an' if keyed else 'any'} API key"),
        ("draw", _curl(url, models[0] if models else "MODEL", keyed)),
        ("open to", _open_to(settings, keyed)),
    ]
    lines = (f"  {name:<8}{text}" for name, text in rows)
    return "\n".join((f"image gateway {version('image-gateway')}", *lines))


def _host(settings: Settings) -> str:
    if settings.host in EVERYWHERE:
        return "127.0.0.1"
    return f"[{settings.host}]" if ":" in settings.host else settings.host


def _listed(models: list[str]) -> str:
    more = len(models) - SHOWN_MODELS
    shown = ", ".join(models[:SHOWN_MODELS]) or "none yet"
    return f"{shown} and {more} more" if more > 0 else shown


def _curl(url: str, model: str, keyed: bool) -> str:
    key = ' -H "Authorization: Bearer $KEY"' if keyed else ""
    body = f'{{"model": "{model}", "prompt": "a red apple"}}'
    return (
        f"curl {url}/v1/images/generations -H 'Content-Type: application/json' "
        f"-H 'Accept: image/png'{key} -d '{body}' -o apple.png"
    )


def _open_to(settings: Settings, keyed: bool) -> str:
    if keyed:
        return "whoever has an API key (gateway keys)"
    if is_loopback(settings.host):
        return "this machine alone; gateway keys create NAME opens it to others"
    return "everybody who reaches it, without a key"
