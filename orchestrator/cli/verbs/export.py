"""`vmrole export`: a service as plain libvirt domains and disks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import config_option, examples
from orchestrator.client import states
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, Denied, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orchestrator.client import wire
    from orchestrator.host.export import Member


@click.command(epilog=examples("vmrole export shop /var/backups/shop"))
@click.argument("service", shell_complete=names.service)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--layers", is_flag=True, help="Each system disk above one copy of its image; the instances are stopped."
)
@config_option
@click.pass_obj
def export(client: Client, service: str, directory: Path, layers: bool, config: Path | None) -> None:
    """Writes a service to a new DIRECTORY as plain libvirt domains, with disks that need no image: the way out.

    Instances go on as they are. The disks of one that runs are those of one moment, at which the guest's agent holds
    its file systems still, if it can. It runs on the host itself, as root. What is not in the directory stands in its
    README.txt: the virtual address, the balancer, the firewall, secrets.
    """
    if client.host:
        raise InvalidInput(
            "the disks are on the daemon's host", hint=f"run it there: vmrole export {service} DIRECTORY"
        )
    if os.geteuid() != 0:
        raise Denied("the disks of instances are root's", hint=f"sudo vmrole export {service} {directory}")
    service = client.service(service)["name"]
    members = tuple(_member(row, layers) for row in client.instances(service))
    from orchestrator.host import config as configuration
    from orchestrator.host import export as exporting

    wish = exporting.Wish(
        uri=configuration.load(config).libvirt_uri,
        service=service,
        members=members,
        file=client.service_file(service),
        layers=layers,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # It ends, and leaves nothing, as by Ctrl-C.
    written = exporting.export(wish, directory, _telling())
    render.show([render.plain(f"{path}: {render.size(path.stat().st_size)}") for path in written])


def _member(row: wire.InstanceView, layers: bool) -> Member:
    from orchestrator.host.export import Member

    if states.off(row):
        return Member(row["name"], runs=False)
    stop = f"vmrole stop {row['service']} --wait; after the export: vmrole start {row['service']}"
    if not states.serves(row["phase"]):
        raise Conflict(f"{row['name']} is {row['phase']}", hint=f"wait until it serves, or stop it: {stop}")
    if layers:
        raise Conflict(f"{row['name']} runs, and what runs is copied with its image in it", hint=stop)
    return Member(row["name"], runs=True)


def _telling() -> Callable[[str, int, int], None]:
    """Tells a terminal how much of which disk is there."""
    if not render.is_terminal():
        return lambda _what, _bytes, _total: None
    return lambda what, count, total: click.echo(
        f"\r\x1b[K{render.plain(what)}: {render.size(count)} of at most {render.size(total)} ",
        nl=False,
        err=True,
    )
