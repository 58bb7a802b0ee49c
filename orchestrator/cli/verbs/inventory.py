"""`vmrole inventory`: the instances as Ansible's dynamic inventory."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import render
from orchestrator.cli.options import bridge_address, by_bridge_option, examples, selector_option
from orchestrator.client.client import Client

if TYPE_CHECKING:
    from orchestrator.client import wire

_FACTS = ("service", "role", "index", "phase", "generation", "image", "image_sha256", "labels", "protected", "cards")


@click.command(epilog=examples("vmrole inventory --list", "ansible-inventory -i ./vmrole-inventory --graph"))
@click.option(
    "--list", "listing", is_flag=True, help="All instances with their variables, as Ansible asks; the default."
)
@click.option("--host", "host", metavar="INSTANCE", help="The variables of one instance, as Ansible asks.")
@click.option("--user", metavar="NAME", help="Who Ansible is in the guests: ansible_user.")
@by_bridge_option
@selector_option("instances")
@click.pass_obj
def inventory(
    client: Client, listing: bool, host: str | None, user: str | None, by_bridge: bool, selector: str | None
) -> None:
    """Prints instances as Ansible's dynamic inventory: groups by service, role, phase and host.

    Ansible takes it as a file that may be run, of two lines: #!/bin/sh, and exec vmrole inventory "$@".

    Groups are called service_shop, role_web, phase_serving and host_NAME; Ansible's own pattern for a role of a
    service is service_shop:&role_web. A hyphen becomes an underscore.
    """
    if listing and host is not None:
        raise click.UsageError("--list or --host, not both")
    if host is not None:
        answer: dict[str, Any] = variables(client.instance(host), user, by_bridge)
    else:
        answer = groups(client.instances(labels=selector or ""), client.host or socket.gethostname(), user, by_bridge)
    render.show([render.as_json(answer, indent=2)])


def groups(
    instances: Sequence[wire.InstanceView], host: str, user: str | None, by_bridge: bool = False
) -> dict[str, Any]:
    """What Ansible's `--list` expects: groups with their hosts, and the variables of all in `_meta`."""
    members: dict[str, list[str]] = {}
    for instance in instances:
        of = {
            "service": instance["service"],
            "role": instance["role"],
            "phase": instance["phase"],
            "host": host.partition(".")[0].lower(),
        }
        for kind, name in of.items():
            members.setdefault(f"{kind}_{_group_name(name)}", []).append(instance["name"])
    hosts = {instance["name"]: variables(instance, user, by_bridge) for instance in instances}
    return {
        "_meta": {"hostvars": hosts},
        "all": {"children": ["ungrouped", *sorted(members)]},
        **{group: {"hosts": names} for group, names in sorted(members.items())},
    }


def variables(instance: wire.InstanceView, user: str | None, by_bridge: bool = False) -> dict[str, Any]:
    """Of one instance: its address in the private network or on a bridge, and what vmrole knows of it."""
    told: dict[str, Any] = {"ansible_host": (by_bridge and bridge_address(instance)) or instance["address"]}
    if user is not None:
        told["ansible_user"] = user
    return told | {f"vmrole_{fact}": value for fact, value in instance.items() if fact in _FACTS}


def _group_name(name: str) -> str:
    """As Ansible allows: letters, digits and underscores."""
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)
