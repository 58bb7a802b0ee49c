"""`vmrole wait`: until a subject is in a state."""

from __future__ import annotations

import click

from orchestrator.cli import names
from orchestrator.cli.options import Duration, examples
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import end_of, full_subject, until_gone, until_serving, until_settled
from orchestrator.client.client import Client
from orchestrator.client.states import off
from orchestrator.errors import Conflict, NotFound


@click.command(
    epilog=examples("vmrole wait shop --for serving --timeout 10m", "vmrole wait web-0.shop --for stopped")
)
@click.argument("subject", shell_complete=names.subject)
@click.option(
    "--for",
    "state",
    type=click.Choice(["serving", "stopped", "gone"]),
    default="serving",
    show_default=True,
    help="What to wait for.",
)
@click.option("--timeout", type=Duration(), help="At most so long: 90s, 10m. Exit status 4 then.")
@click.pass_obj
def wait(client: Client, subject: str, state: str, timeout: float | None) -> None:
    """Returns when an instance, a role or a service serves as it was asked to, or is stopped, or gone.

    What is stopped on purpose is not waited for to serve; where nothing else is left to wait for, that is a conflict.
    """
    until = end_of(timeout)
    if state == "gone":
        try:
            name = full_subject(client, subject)
        except NotFound:
            return
        until_gone(client, name, until, progress())
        return
    name = full_subject(client, subject)
    if state == "stopped":
        until_serving(client, name, until, progress(), is_there=off)
        return
    until_settled(client, name, until)
    rows = client.instances(name)
    if rows and all(off(row) for row in rows):
        raise Conflict(f"{name} is stopped", hint=f"run: vmrole start {name}")
