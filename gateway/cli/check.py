"""`gateway check`: whether a model draws the same together as alone, and how fast."""

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from gateway.catalog.bundle import full_catalog
from gateway.catalog.survey.survey import check_model
from gateway.cli.options import setting_options
from gateway.settings import read_settings
from gateway.telemetry.sizes import shown_bytes

if TYPE_CHECKING:
    from gateway.engine.check import Finding

SHARED = ("models", "adapters", "data", "device", "memory", "threads", "max_batch")


@click.command()
@click.argument("model")
@setting_options(*SHARED)
def check(model: str, **given: object) -> None:
    """Draw MODEL (endpoint or endpoint:adapter) alone and together, and compare.

    Exits with 1 where the pictures differ by more than is promised.
    """
    settings = read_settings(given)
    whole = full_catalog(settings)
    wanted = whole.resolve(model)
    check_model(wanted, whole)
    click.echo(f"loading {wanted.id} ...", err=True)
    from gateway.engine.check import check as compare  # noqa: PLC0415  torch takes seconds
    from gateway.engine.pipelines.schedulers import Schedulers  # noqa: PLC0415

    part = whole.served((wanted.endpoint.id,), {})
    part = msgspec.structs.replace(part, tried=Schedulers(lambda: part.endpoints).runs)
    found = compare(wanted, part, settings)
    for name, value in _lines(found):
        click.echo(f"{name:<22}{value}")
    sys.exit(0 if found.holds else 1)


def _lines(found: "Finding") -> list[tuple[str, str]]:
    best = min(found.batches, key=found.batches.__getitem__)
    shared = "one sample at a time" if found.is_alone else f"for {found.num_calls} calls"
    stock, moved = found.stock_difference, found.rounding
    return [
        ("model", f"{found.model}: {found.pipeline}, {found.dtype} on {found.device}"),
        (
            "largest difference",
            f"{found.difference:.1e} of {found.tolerance:.0e} allowed, "
            f"{found.num_samples} samples together and alone",
        ),
        *([] if moved is None else [("by roundings alone", f"{moved:.1e}; twice is allowed")]),
        ("to the stock pipeline", "not compared" if stock is None else f"{stock:.1e}"),
        ("denoiser forwards", f"{found.num_forwards} {shared}"),
        ("seconds a picture", f"{found.batches[1]:.3g} alone, {found.batches[best]:.3g} at {best}"),
        ("fits", f"{max(found.batches)} at once were drawn"),
        ("weights", f"{found.weight_bytes / 2**20:.0f} MiB"),
        ("memory planned", found.plan),
        ("used by weights" if found.device == "cpu" else "used", shown_bytes(found.used_bytes)),
        (
            "most memory used",
            f"{found.peak_bytes / 2**20:.0f} of {found.memory_bytes / 2**20:.0f} MiB",
        ),
        ("samplers", ", ".join(found.samplers)),
        ("scheduler classes", ", ".join(found.schedulers) or "its own alone"),
        ("ignored", ", ".join(found.ignored) or "nothing"),
        ("promise", "holds" if found.holds else "DOES NOT HOLD"),
    ]
