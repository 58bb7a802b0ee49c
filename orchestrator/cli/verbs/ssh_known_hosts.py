"""`vmrole ssh-known-hosts`: a known_hosts file of sshd(8), of what vmrole knows of its instances."""

from __future__ import annotations

import dataclasses
import re

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.client.client import Client
from orchestrator.errors import RequestError, VmroleError

# Both become lines of a file that is trusted, and words of ssh's configuration: no daemon is believed another form.
_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]{0,300}")
_KEY = re.compile(r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{16,8192}={0,2}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An instance's sshd: by what it is known, as known_hosts spells it, and its keys ("ALGORITHM BASE64")."""

    hosts: tuple[str, ...]
    keys: tuple[str, ...]


@click.command(
    epilog=examples(
        "vmrole ssh-known-hosts shop",
        "vmrole ssh-known-hosts web.shop",
        "vmrole ssh-known-hosts web-0",
    )
)
@click.argument("subject", default="", shell_complete=names.subject)
@click.pass_obj
def ssh_known_hosts(client: Client, subject: str) -> int:
    """Prints a known_hosts file: the public host keys of instances by name, address, and [VIP]:PORT.

    SUBJECT narrows to an instance, a role (web.shop) or a service. Ports of the VIP are those of endpoints of `type:
    instance` that lead to port 22. Keys are those that an instance keeps (identity: {sshHostKeys: keep}), else those
    that its guest shows now, through its agent: they are others after a reimage.

    Whose keys cannot be had is told on standard error with the reason, and the exit status is 1.
    """
    missing = 0
    for instance in client.instances(subject):
        try:
            known = trusted(client, instance["name"])
        except VmroleError as error:
            missing += 1
            hint = f" ({error.hint})" if error.hint else ""
            told = str(error).removeprefix(f"{instance['name']} ")
            render.say(f"{instance['name']}: {told}{hint}")
            continue
        render.show([f"{','.join(known.hosts)} {key}" for key in known.keys])
    return 1 if missing else 0


def trusted(client: Client, name: str) -> Known:
    """The keys of an instance, as vmrole has them; raises VmroleError when it has none."""
    told = client.host_keys(name)
    hosts, keys = tuple(told["hosts"]), tuple(told["keys"])
    if not hosts or not keys or not all(map(_HOST.fullmatch, hosts)) or not all(map(_KEY.fullmatch, keys)):
        raise RequestError("the daemon's answer is no list of host keys", hint="are both of the same version?")
    return Known(hosts=hosts, keys=keys)
