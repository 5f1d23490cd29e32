"""`gateway convert`: pickled weights made safetensors."""

from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def convert(files: tuple[Path, ...]) -> None:
    """Write the weights of pickled FILES (.ckpt, .pt, .bin) beside them as .safetensors.

    Nothing that they say is run, and what is more than weights is refused.
    """
    from gateway.engine.weights.convert import convert as converted  # noqa: PLC0415  torch takes seconds

    for file in files:
        click.echo(str(converted(file)))
