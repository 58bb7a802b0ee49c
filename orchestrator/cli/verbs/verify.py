"""`vmrole verify`: this host compared with the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples, finding, format_option
from orchestrator.client.client import Client

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire


@click.command(epilog=examples("vmrole verify", "vmrole verify --repair"))
@format_option("table", "json", "yaml")
@click.option("--repair", is_flag=True, help="First remove what no record knows; local storage stays.")
@click.pass_obj
@finding
def verify(client: Client, form: str, repair: bool) -> int:
    """Compares this host with the records: VMs, disks, discs, networks, pool members.

    Exit status 1 on a finding, more when it cannot tell.
    """
    for one in client.repair() if repair else ():
        render.say(f"removed {one['subject']}: {one['message']}")
    found = client.findings()
    if form != "table":
        render.show([render.dump(found, form)])
    elif found:
        columns: list[Column[wire.Finding]] = [
            ("CODE", lambda row: row["code"]),
            ("SUBJECT", lambda row: row["subject"]),
            ("MESSAGE", lambda row: row["message"]),
        ]
        render.show(render.table(columns, found))
    else:
        render.say("all is as recorded")
    return 1 if found else 0
