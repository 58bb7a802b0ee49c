"""`vmrole protect`: instances that no operation may touch."""

from __future__ import annotations

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples, selector_option
from orchestrator.client.client import Client


@click.command(epilog=examples("vmrole protect web-1.shop", "vmrole unprotect web-1.shop"))
@click.argument("subject", shell_complete=names.subject)
@selector_option("those")
@click.pass_obj
def protect(client: Client, subject: str, selector: str | None) -> None:
    """Keeps every verb and healing away from instances, for who wants to look into one, until: vmrole unprotect.

    Well, it serves on; sick or off, it leaves rotation and is left as it is. What names it alone is refused, and so
    is its deletion or scaling away; an operation on its role, and an apply, leave it as it is and say so. What was
    asked and has not begun is taken back; what has begun ends first.
    """
    for row in client.protect(subject, on=True, labels=selector or ""):
        render.show([f"{row['name']}: {'protected' if row['protected'] else 'being removed'}"])
