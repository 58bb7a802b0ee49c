"""`vmrole events`: what has happened."""

from __future__ import annotations

import click

from orchestrator.cli import names
from orchestrator.cli.listing import print_list
from orchestrator.cli.options import examples, output_option
from orchestrator.cli.verbs.get import watch
from orchestrator.client.client import Client

LAST_MAX = 1000  # what the daemon tells at once


@click.command(epilog=examples("vmrole events shop --watch", "vmrole events -n 20"))
@click.argument("subject", default="", shell_complete=names.subject)
@output_option
@click.option("-w", "-f", "--watch", "--follow", "watching", is_flag=True, help="Go on and print what happens.")
@click.option("-n", "--last", type=click.IntRange(1, LAST_MAX), metavar="N", help="Only the newest so many.")
@click.option("--no-headers", is_flag=True, help="Only rows.")
@click.pass_obj
def events(client: Client, subject: str, form: str, watching: bool, last: int | None, no_headers: bool) -> None:
    """The ledger: what happened to an instance, a role, a service, or to everything."""
    if watching and last:
        raise click.UsageError("-n is of what was, --watch of what comes: one of the two")
    if watching:
        watch(client, "events", subject, form, headers=not no_headers)
    else:
        print_list(client, "events", subject, form, headers=not no_headers, last=last)
