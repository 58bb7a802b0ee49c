"""`vmrole ssh`: ssh to an instance, with its host key under its own name."""

from __future__ import annotations

import os
import shutil

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.cli.verbs.ssh_config import by_way_of, user_option
from orchestrator.cli.verbs.ssh_known_hosts import trusted
from orchestrator.client import states
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, RequestError, VmroleError


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("vmrole ssh web-0.shop", "vmrole ssh --user debian web-0 uptime"),
)
@click.argument("instance", shell_complete=names.subject)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@user_option
@click.pass_obj
def ssh(client: Client, instance: str, command: tuple[str, ...], user: str | None) -> None:
    """Runs ssh to an instance: a login, or the COMMAND behind its name. The exit status is ssh's.

    The host key is asked of vmrole, as ssh-known-hosts prints it: nobody has to trust one that was never seen, and a
    reimage makes no stranger. Where it cannot be had, that is said, and ssh goes by what it knows itself.

    With a daemon on another host, ssh goes by way of that host, as whom its own configuration says.
    """
    found = client.instance(instance)
    if not states.is_there(found["phase"]):
        raise Conflict(
            f"{found['name']} is {found['phase']}: nothing answers there", hint=f"vmrole why {found['name']}"
        )
    # Its address is one of a network that its host alone is in.
    words = ["ssh", "-o", f"HostKeyAlias={found['name']}", "-o", f"ProxyJump={by_way_of(client)}"]
    words += _trusting(client, found["name"])
    if user is not None:
        words += ["-l", user]
    try:
        os.execvp("ssh", [*words, "--", found["address"], *command])  # noqa: S606 - the terminal is its own now
    except FileNotFoundError as error:
        raise RequestError("ssh is not installed", hint="apt install openssh-client") from error
    except OSError as error:
        raise InvalidInput(f"ssh cannot be run: {error.strerror}", hint="see whether `ssh -V` runs") from error


def _trusting(client: Client, name: str) -> list[str]:
    """ssh's options by which the instance's keys of now are the only ones; none where they cannot be had.

    No file is left behind: ssh has a program tell it the keys. What its own file knows of an earlier generation is
    not asked; what the administrator's file says of all hosts is.
    """
    printf = shutil.which("printf")
    try:
        known = trusted(client, name)
    except VmroleError as error:
        render.say(f"its host key cannot be had, so ssh goes by what it knows itself: {error}")
        return []
    if printf is None:
        return []
    lines = " ".join(f'"{name} {key}"' for key in known.keys)
    options = (
        f"KnownHostsCommand={printf} %%s\\n {lines}",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
    )
    return [word for option in options for word in ("-o", option)]
