"""Verbs that act on instances that exist, and the one that waits for them."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import Duration, examples, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import end_of, full_subject, until_gone, until_over, until_settled
from orchestrator.client.client import Client
from orchestrator.errors import NotFound

_SUBJECT = "An INSTANCE (web-0 or web-0.shop), a role (web.shop) or a service (shop)."


def _verb(name: str, does: str) -> click.Command:
    about = f"{does}\n\nSUBJECT: {_SUBJECT} One instance at a time unless told otherwise."

    @click.command(name, help=about, epilog=examples(f"vmrole {name} web-0.shop --wait", f"vmrole {name} shop"))
    @click.argument("subject", shell_complete=names.subject)
    @click.option("--together", type=click.IntRange(1), default=1, metavar="N", help="So many at the same time.")
    @wait_options
    @click.pass_obj
    def act(client: Client, subject: str, together: int, waits: bool, timeout: float | None) -> None:
        until = end_of(timeout)
        operation = client.act(name, subject, together=together)
        render.show([operation["id"]])
        if waits:
            until_over(client, operation, until, progress())

    return act


restart = _verb("restart", "Restarts instances: the same generation boots again; all its data stays.")
reimage = _verb(
    "reimage", "Gives instances a new system disk from the image, the next generation; local storage stays."
)
rebuild = _verb("rebuild", "Gives instances a new system disk and new, empty local storage.")


@click.command(epilog=examples("vmrole wait shop --for serving --timeout 10m"))
@click.argument("subject", shell_complete=names.subject)
@click.option("--for", "state", type=click.Choice(["serving", "gone"]), default="serving", help="What to wait for.")
@click.option("--timeout", type=Duration(), help="At most so long: 90s, 10m. Exit status 4 then.")
@click.pass_obj
def wait(client: Client, subject: str, state: str, timeout: float | None) -> None:
    """Returns when an instance, a role or a service serves as it was asked to, or is gone."""
    until = end_of(timeout)
    if state == "gone":
        try:
            name = full_subject(client, subject)
        except NotFound:
            return
        until_gone(client, name, until, progress())
    else:
        until_settled(client, full_subject(client, subject), until)
