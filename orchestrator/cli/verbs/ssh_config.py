"""`vmrole ssh-config`: blocks for ssh_config(5)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import bridge_address, by_bridge_option, examples
from orchestrator.client.client import Client

if TYPE_CHECKING:
    from orchestrator.client import wire


_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def _user(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A user that is a word of ssh's configuration, and nothing else."""
    if value is not None and not _USER.fullmatch(value):
        raise click.BadParameter(f"{value[:64]!r} is no name of a user")
    return value


user_option = click.option("--user", "-u", metavar="NAME", callback=_user, help="Who to be in the guest.")


@click.command(epilog=examples("vmrole ssh-config shop --user debian"))
@click.argument("subject", default="", shell_complete=names.subject)
@user_option
@by_bridge_option
@click.pass_obj
def ssh_config(client: Client, subject: str, user: str | None, by_bridge: bool) -> None:
    """Prints a Host block of ssh_config(5) for each instance: an Include of it, and ssh knows them by name.

    SUBJECT narrows to an instance, a role (web.shop) or a service. A host key is kept under the instance's name, not
    its address, which another instance may have one day.
    """
    for instance in client.instances(subject):
        at = bridge_address(instance) if by_bridge else ""
        render.show(block(instance, user, "" if at else by_way_of(client), at))


def by_way_of(client: Client) -> str:
    """What ssh's ProxyJump is for the instances of a daemon: its host, where that is another."""
    return (f"[{client.host}]" if ":" in client.host else client.host) or "none"


def block(instance: wire.InstanceView, user: str | None, jump: str = "none", at: str = "") -> list[str]:
    """The lines for one instance, which is known by its full name. `at`: its address, where that is not the private
    one; nothing is said of the way to it then.
    """
    lines = [
        f"Host {instance['name']}",
        f"    HostName {at or instance['address']}",
        f"    HostKeyAlias {instance['name']}",
    ]
    if jump:  # What the user's file says of all hosts leads away from a network that its host alone is in.
        lines.append(f"    ProxyJump {jump}")
    return [*lines, f"    User {user}", ""] if user is not None else [*lines, ""]
