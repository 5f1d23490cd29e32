"""`gateway generate`: one picture to a file, with no server."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.catalog.bundle import DEFAULT, full_catalog
from gateway.catalog.catalog import Catalog, Model
from gateway.catalog.collection import Collection
from gateway.catalog.survey.survey import check_model
from gateway.cli.options import setting_options
from gateway.errors import InvalidRequest, ModelNotFound
from gateway.images.encode import largest_difference, read_text
from gateway.images.receipt import Receipt, differences, job_of, read_receipt
from gateway.images.store import SUFFIXES
from gateway.intake import to_job
from gateway.job import Job
from gateway.outside.parameters import fold, read_request
from gateway.settings import Settings, read_settings
from gateway.studio import Picture, Rendering, Studio

SHARED = ("models", "adapters", "data", "device", "threads")


@click.command()
@click.argument("prompt", required=False)
@click.option("--model", help="endpoint or endpoint:adapter  [default: emoji]")
@click.option("--steps", type=int, help="denoising steps  [default: the card's]")
@click.option("--guidance-scale", type=float, help="[default: the card's]")
@click.option("--seed", type=int, help="[default: random]")
@click.option("--size", help="WIDTHxHEIGHT in pixels  [default: the model's own]")
@click.option("--negative-prompt")
@click.option(
    "--lora", "loras", multiple=True, help="an adapter's route, or ROUTE=SCALE; repeatable"
)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="a PNG made here: make it again from its receipt",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("picture.png"),
    show_default=True,
    help="ends in .png, .jpg or .webp",
)
@setting_options(*SHARED)
def generate(
    prompt: str | None, source: Path | None, output: Path, loras: tuple[str, ...], **given: Any
) -> None:
    """Draw PROMPT and write the picture to a file."""
    settings = read_settings({name: given.pop(name) for name in SHARED})
    if output.suffix not in SUFFIXES:
        raise InvalidRequest(f"-o {output}: the name must end in {', '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise InvalidRequest(f"-o {output}: there is no folder {output.parent}")
    receipt = _receipt_in(source) if source else None
    if receipt is None:
        asked = {**given, "prompt": prompt, "loras": [_lora(text) for text in loras] or None}
        job, catalog = _asked_job(asked, settings)
    else:
        _check_alone(prompt=prompt, lora=loras or None, **given)
        job, catalog = _receipt_job(receipt, settings)
    original = source.read_bytes() if source else None
    picture = asyncio.run(_draw(job, catalog, settings, Rendering(SUFFIXES[output.suffix])))
    output.write_bytes(picture.data)
    console = Console(stderr=True)
    console.print(f"{output}: {picture.width}×{picture.height}, seed {picture.seed}")
    for remark in picture.remarks:
        # Not by the console, which would read brackets in a prompt as its own markup.
        click.secho(f"{remark.param}: {remark.message}", fg="yellow", err=True)
    if receipt is not None:
        for line in differences(receipt, picture.receipt):
            console.print(f"differs from its receipt: {line}", style="yellow")
    if original and picture.format == "png":
        console.print(_likeness(original, picture.data))


def _asked_job(asked: dict[str, Any], settings: Settings) -> tuple[Job, Catalog]:
    request = read_request(fold(asked))
    whole = full_catalog(settings)
    model = whole.resolve(request.model or DEFAULT)
    part = whole.served((model.endpoint.id,), {})
    return to_job(request, model, part, settings), part


def _receipt_job(receipt: Receipt, settings: Settings) -> tuple[Job, Catalog]:
    catalog = full_catalog(settings)
    if receipt.model not in catalog.endpoints:
        raise ModelNotFound(
            f"The receipt names the endpoint `{receipt.model}`; it has no card here."
        )
    for use in receipt.adapters:
        catalog.adapter(receipt.model, use.route)
    return job_of(receipt, uuid4().hex), catalog.served((receipt.model,), {})


def _receipt_in(path: Path) -> Receipt:
    try:
        return read_receipt(read_text(path.read_bytes()))
    except ValueError as error:
        raise InvalidRequest(f"--from {path}: {error}") from None


def _check_alone(**asked: Any) -> None:
    for name, value in asked.items():
        if value is not None:
            raise InvalidRequest(f"--from says everything itself: leave out {name}", param=name)


def _lora(text: str) -> dict[str, str | None]:
    name, _, scale = text.partition("=")
    return {"name": name, "scale": scale or None}


def _likeness(original: bytes, again: bytes) -> str:
    """One line on whether two PNGs show the same picture."""
    difference = largest_difference(original, again)
    if difference is None:
        return "the pictures differ in size"
    if difference == 0:
        return "the same picture, pixel for pixel"
    return f"pixels differ by up to {difference} of 255"


async def _draw(job: Job, catalog: Catalog, settings: Settings, rendering: Rendering) -> Picture:
    endpoint = catalog.endpoint(job.endpoint)
    for adapter in (None, *(catalog.adapter(job.endpoint, use.route) for use in job.adapters)):
        check_model(Model(endpoint, adapter), catalog)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"loading {job.endpoint}", total=job.num_inference_steps)
        from gateway.engine.local import LocalEngine  # noqa: PLC0415  torch takes seconds

        engine = LocalEngine(catalog, settings)
        studio = Studio(engine, Collection.of(catalog), settings)
        await engine.start()
        try:
            async for item in studio.draw(job, rendering):
                if isinstance(item, Picture):
                    return item
                progress.update(task, description="drawing", advance=1)
        finally:
            await engine.stop(0)
            studio.close()
    raise AssertionError("a drawn job ends in a picture or an error")
