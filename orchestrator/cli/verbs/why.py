"""`vmrole why`: what an instance waits for."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole why web-0.shop"))
@click.argument("instance", shell_complete=names.subject)
@click.pass_obj
def why(client: Client, instance: str) -> None:
    """Says what an instance waits for, since when, until when, and what came before."""
    render.show(render.plain(line) for line in client.why(instance))
