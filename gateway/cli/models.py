"""`gateway models`: the catalogue as a table."""

from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from gateway.catalog.bundle import full_catalog
from gateway.catalog.cards import EndpointCard
from gateway.catalog.catalog import Catalog
from gateway.catalog.weights import is_on_disk, pipeline_class
from gateway.cli.options import setting_options
from gateway.settings import read_settings

COLUMNS = ("pipeline", "adapters", "steps", "size", "licence", "on disk")


@click.command()
@setting_options("models", "adapters")
def models(**flags: Any) -> None:
    """List every endpoint there is a card for."""
    Console().print(catalog_table(full_catalog(read_settings(flags))))


def catalog_table(catalog: Catalog) -> Table:
    """One row per endpoint."""
    table = Table(Column("id", no_wrap=True), *COLUMNS)
    for card in catalog.endpoints.values():
        routes = ", ".join(catalog.routes(card.id)) or "–"
        table.add_row(card.id, pipeline_class(card) or "–", routes, *_facts(card))
    return table


def _facts(card: EndpointCard) -> tuple[str, str, str, str]:
    steps = f"{card.steps.min}–{card.steps.max} ({card.steps.default})"
    width, height = card.sizes.native
    return steps, f"{width}×{height}", card.licence, "yes" if is_on_disk(card) else "no"
