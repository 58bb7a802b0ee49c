"""`vmrole pause`: nothing happens by itself."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.cli.standstills import told
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole pause shop", "vmrole resume shop", "vmrole pause"))
@click.argument("service", default="", shell_complete=names.service)
@click.pass_obj
def pause(client: Client, service: str) -> None:
    """Does nothing by itself to a service, or to any, until: vmrole resume.

    No healing, no step of a rollout, no other try of what failed. What has begun ends first, what you ask for by name
    is done, and who is sick leaves rotation as ever. Both slots of a service stand still; without one all there are
    and all that come. It outlives a restart of the daemon, and every get says so.
    """
    left = client.stand_still(service, on=True)
    render.show([one["says"] for one in left if one["service"] == service])
    for line in told(left, but=service):
        render.say(line)
