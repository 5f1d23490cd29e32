"""The command line: `gateway serve | generate | check | models | keys`."""

import sys

import click

from gateway.accounts.keys import KeyFileError
from gateway.catalog.cards import CardError
from gateway.cli.check import check
from gateway.cli.generate import generate
from gateway.cli.keys import keys
from gateway.cli.models import models
from gateway.cli.serve import serve
from gateway.errors import GatewayError
from gateway.settings import SettingsError, strays
from gateway.telemetry.log import quiet_libraries
from gateway.web.server.descriptors import hold_standard_streams


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="image-gateway")
def commands() -> None:
    """An image gateway that speaks the dialects image clients already speak."""


for command in (serve, generate, check, models, keys):
    commands.add_command(command)


def main() -> None:
    """Run the command line; a fault that somebody can mend is one line, not a traceback."""
    hold_standard_streams()
    quiet_libraries()
    for line in strays():
        click.echo(f"gateway: {line}", err=True)
    try:
        commands()
    except (CardError, KeyFileError, SettingsError, GatewayError) as error:
        fault = str(error)
    except OSError as error:
        if error.errno is None:
            raise
        fault = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    else:
        return
    click.echo(f"gateway: {fault}", err=True)
    sys.exit(2)
