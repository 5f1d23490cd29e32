"""The command line: `gateway serve | generate | check | models | pull | convert | keys`."""

import platform
import sys
from importlib import import_module

import click

from gateway.accounts.keys import KeyFileError
from gateway.catalog.cards import CardError
from gateway.errors import GatewayError
from gateway.settings import SettingsError, strays
from gateway.telemetry.log import quiet_libraries
from gateway.web.server.descriptors import hold_standard_streams


class Commands(click.Group):
    """The commands, each imported when it is asked for: `serve` has a second to answer in."""

    names = ("serve", "generate", "check", "models", "pull", "convert", "keys")

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, which is its module's too."""
        if cmd_name not in self.names:
            return None
        command = getattr(import_module(f"gateway.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


def tell_versions(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """Say this gateway's version, and those of what a picture may depend on."""
    if not is_asked or context.resilient_parsing:
        return
    from gateway.images.receipt import library_versions  # noqa: PLC0415  not before it is asked

    for name, number in {**library_versions(), "python": platform.python_version()}.items():
        click.echo(f"{name} {number}")
    context.exit()


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=tell_versions)
def commands() -> None:
    """An image gateway that speaks the dialects image clients already speak."""


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
