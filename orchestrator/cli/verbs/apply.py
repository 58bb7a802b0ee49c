"""`vmrole apply`: services become what their files say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.cli.applying import (
    OfFiles,
    changed,
    checked_files,
    files_option,
    gathered,
    slot_option,
    tell_applied,
    wait_for,
)
from orchestrator.cli.gathering import Fault, refuse
from orchestrator.cli.options import examples, wait_options
from orchestrator.cli.waiting import end_of
from orchestrator.client.client import Client
from orchestrator.errors import VmroleError

if TYPE_CHECKING:
    from orchestrator.client import wire


@click.command(
    cls=OfFiles,
    epilog=examples(
        "vmrole apply -f shop.yaml --wait",
        "vmrole apply -f services/ -f more.yaml --dry-run",
        "vmrole apply -f shop.yaml --slot staging",
    ),
)
@files_option
@slot_option
@click.option("--dry-run", is_flag=True, help="Say what would change and change nothing.")
@click.option("--expect", type=click.IntRange(0), help="Only if the service is at this revision (0: does not exist).")
@wait_options
@click.pass_obj
def apply(
    client: Client,
    files: tuple[str, ...],
    slot: wire.Slot,
    dry_run: bool,
    expect: int | None,
    waits: bool,
    timeout: float | None,
) -> int:
    """Makes services as their files say: deploys them, changes them, or finds nothing to do.

    All files are read and checked before the first service is touched. In the staging slot a service is deployed a
    second time, on its stagingVip or without an address: call it SERVICE@staging, until: vmrole swap SERVICE.
    """
    until = end_of(timeout)
    given, faults = gathered(files)
    if expect is not None and len(given) > 1:
        raise click.UsageError("--expect is for one service")
    checked = checked_files(client, given, faults, expect, slot=slot, alone=dry_run)
    if isinstance(checked, int):
        return checked
    if dry_run:
        for one, changes in zip(given, checked, strict=True):
            head = [f"{one.service}:"] if len(given) > 1 else []
            render.show([*head, *(changed(changes) or ["nothing would change"])])
        return 0
    applied = []
    for one in given:
        try:
            applied.append(client.apply(one.text, slot=slot, expected=expect))
        except VmroleError as error:
            return refuse([Fault(of=one, error=error)], len(given), done=len(applied))
        tell_applied(applied[-1], waits=waits)
    return wait_for(client, applied, until) if waits else 0
