"""`vmrole console`: the serial console of an instance."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.client.client import Client
from orchestrator.errors import RequestError

LOG_BYTES = 65_536


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
