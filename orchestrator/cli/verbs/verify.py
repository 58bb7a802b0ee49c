"""`vmrole verify`: this host compared with the records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import render
from orchestrator.cli.options import examples, finding, format_option
from orchestrator.client.client import Client
from orchestrator.errors import Conflict

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire


@click.command(epilog=examples("vmrole verify", "vmrole verify --repair", "vmrole verify --repair --yes"))
@format_option("table", "json", "yaml")
@click.option(
    "--repair", is_flag=True, help="First remove what no record knows; local storage and kept host keys stay."
)
@click.option("--yes", is_flag=True, help="Shut down and remove VMs as well.")
@click.pass_obj
@finding
def verify(client: Client, form: str, repair: bool, yes: bool) -> int:
    """Compares this host with the records: VMs, disks, discs, networks, pool members.

    Exit status 1 on a finding, more when it cannot tell.
    """
    machines = _machines(client) if repair else []
    if machines and not yes:
        names = ", ".join(machines)
        raise Conflict(
            f"VMs would be ended and erased: {names}; nothing was removed",
            hint="records that came back from a backup do not know what was applied later: apply that again. If they "
            "are nobody's: vmrole verify --repair --yes",
        )
    if machines:
        render.say(f"shutting down {', '.join(machines)}: it may take some minutes, and ends at the latest after 10")
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


def _machines(client: Client) -> list[str]:
    """The VMs that a repair would take away."""
    return [one["subject"] for one in client.findings() if one["stray"] and one["code"] == "DOMAIN-STRAY"]
