"""`vmrole diff`: what an apply would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.cli.applying import OfFiles, changed, checked_files, files_option, gathered, slot_option
from orchestrator.cli.options import examples, finding
from orchestrator.client.client import Client

if TYPE_CHECKING:
    from orchestrator.client import wire


@click.command(cls=OfFiles, epilog=examples("vmrole diff -f shop.yaml"))
@files_option
@slot_option
@click.pass_obj
@finding
def diff(client: Client, files: tuple[str, ...], slot: wire.Slot) -> int:
    """Says what apply would change. Exit status 0 when nothing, 1 when something, more when it cannot tell."""
    given, faults = gathered(files)
    checked = checked_files(client, given, faults, slot=slot)
    if isinstance(checked, int):
        return checked
    for one, changes in zip(given, checked, strict=True):
        head = [f"{one.service}:"] if len(given) > 1 and changes else []
        render.show([*head, *changed(changes)])
    return 1 if any(checked) else 0
