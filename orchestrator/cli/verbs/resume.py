"""`vmrole resume`: what happens by itself goes on."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.cli.standstills import told
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole resume shop", "vmrole resume"))
@click.argument("service", default="", shell_complete=names.service)
@click.pass_obj
def resume(client: Client, service: str) -> None:
    """Ends what `vmrole pause` began: of a service, or without one of the host.

    What is still ill then has its time anew before anything is done to it. A service that was paused by its name
    stays so when the host goes on, and the other way round; that is said.
    """
    left = client.stand_still(service, on=False)
    whose = f"service {service}" if service else "this host"
    render.show([f"automation of {whose} goes on" + (", but for what is paused still" if left else "")])
    for line in told(left):
        render.say(line)
