"""`vmrole swap`: what is in production and what is in staging change places."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole swap shop", "vmrole apply -f shop.yaml --slot staging --wait"))
@click.argument("service", shell_complete=names.service)
@click.option("--force", is_flag=True, help="Although clients would notice, such as of an empty staging slot.")
@click.pass_obj
def swap(client: Client, service: str, force: bool) -> None:
    """Exchanges what is in production and what is in staging of a service, and with it their virtual addresses.

    All endpoints go over at once; connections that are open stay where they are, and no instance is touched. Another
    swap goes back. It is refused when nothing is in staging, or nobody serves there.
    """
    for one in client.swap(service, force=force):
        at = f" at {one['vip']}" if one["vip"] else ", without an address"
        serve = f"{one['serving']} of {one['instances']} serve"
        render.show([f"{one['name']}: {one['deployment']} is in {one['slot']} now{at} ({serve})"])
