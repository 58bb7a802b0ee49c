"""`vmrole unprotect`: instances that operations may touch again."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples, selector_option
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole unprotect web-1.shop", "vmrole apply -f shop.yaml"))
@click.argument("subject", shell_complete=names.subject)
@selector_option("those")
@click.pass_obj
def unprotect(client: Client, subject: str, selector: str | None) -> None:
    """Lets verbs and healing have instances again that were protected."""
    for row in client.protect(subject, on=False, labels=selector or ""):
        render.show([f"{row['name']}: not protected"])
