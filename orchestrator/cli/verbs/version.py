"""`vmrole version`: of the command and of the daemon."""

from __future__ import annotations

import click

from orchestrator import __version__
from orchestrator.cli import render
from orchestrator.cli.options import examples
from orchestrator.client.client import Client
from orchestrator.errors import Denied, Unreachable


@click.command(epilog=examples("vmrole version"))
@click.pass_obj
def version(client: Client) -> None:
    """Prints the version of this program, and of the daemon if one answers."""
    render.show([f"vmrole {__version__}"])
    try:
        render.show([f"daemon {client.health()['version']}"])
    except Unreachable:
        render.say(f"no daemon {'at' if client.host else 'on'} {client.path}")
    except Denied as error:
        render.say(f"the daemon's is not known: {error} ({error.hint})")
