"""Verbs that look: why, events, console, verify."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.listing import print_list
from orchestrator.cli.options import examples, finding, format_option, output_option
from orchestrator.cli.verbs.get import watch
from orchestrator.client.client import Client
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from orchestrator.cli.render import Column

LOG_BYTES = 65_536


@click.command(epilog=examples("vmrole why web-0.shop"))
@click.argument("instance", shell_complete=names.subject)
@click.pass_obj
def why(client: Client, instance: str) -> None:
    """Says what an instance waits for, since when, until when, and what came before."""
    render.show(render.plain(line) for line in client.why(instance))


@click.command(epilog=examples("vmrole events shop --watch"))
@click.argument("subject", default="", shell_complete=names.subject)
@output_option
@click.option("-w", "--watch", "watching", is_flag=True, help="Go on and print what happens.")
@click.option("--no-headers", is_flag=True, help="Only rows.")
@click.pass_obj
def events(client: Client, subject: str, form: str, watching: bool, no_headers: bool) -> None:
    """The ledger: what happened to an instance, a role, a service, or to everything."""
    if watching:
        watch(client, "events", subject, form, headers=not no_headers)
    else:
        print_list(client, "events", subject, form, headers=not no_headers)


@click.command(epilog=examples("vmrole console web-0.shop", "vmrole console web-0.shop --log"))
@click.argument("instance", shell_complete=names.subject)
@click.option("--log", is_flag=True, help="Print the end of the console's log instead of attaching.")
@click.option("--raw", is_flag=True, help="With --log: as the guest wrote it, terminal escapes included.")
@click.option(
    "--connect",
    metavar="URI",
    envvar="LIBVIRT_DEFAULT_URI",
    default="qemu:///system",
    show_default=True,
    show_envvar=True,
    help="The hypervisor.",
)
@click.pass_obj
def console(client: Client, instance: str, log: bool, raw: bool, connect: str) -> None:
    """Attaches the serial console of an instance (end with Ctrl-]); without a terminal, prints its log."""
    name = client.instance(instance)["name"]
    if not log and sys.stdin.isatty() and sys.stdout.isatty():
        try:
            os.execvp("virsh", ["virsh", "--connect", connect, "console", name])  # noqa: S606 - the terminal is its own now
        except OSError as error:
            raise RequestError(f"virsh cannot be run: {error.strerror}", hint="or use: --log") from error
    text = client.console(name, LOG_BYTES)
    if raw:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    else:
        render.show(render.plain(line.replace("\t", "    ")) for line in text.decode(errors="replace").splitlines())


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
        columns: list[Column] = [
            ("CODE", lambda row: row["code"]),
            ("SUBJECT", lambda row: row["subject"]),
            ("MESSAGE", lambda row: row["message"]),
        ]
        render.show(render.table(columns, found))
    else:
        render.say("all is as recorded")
    return 1 if found else 0
