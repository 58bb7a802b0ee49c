"""`vmrole ssh`: ssh to an instance, with its host key under its own name."""

from __future__ import annotations

import os

import click

from orchestrator.cli import names
from orchestrator.cli.options import examples
from orchestrator.cli.verbs.ssh_config import by_way_of, user_option
from orchestrator.client import states
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, RequestError


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

    With a daemon on another host, ssh goes by way of that host, as whom its own configuration says.
    """
    found = client.instance(instance)
    if not states.is_there(found["phase"]):
        raise Conflict(
            f"{found['name']} is {found['phase']}: nothing answers there", hint=f"vmrole why {found['name']}"
        )
    # Its address is one of a network that its host alone is in.
    words = ["ssh", "-o", f"HostKeyAlias={found['name']}", "-o", f"ProxyJump={by_way_of(client)}"]
    if user is not None:
        words += ["-l", user]
    try:
        os.execvp("ssh", [*words, "--", found["address"], *command])  # noqa: S606 - the terminal is its own now
    except FileNotFoundError as error:
        raise RequestError("ssh is not installed", hint="apt install openssh-client") from error
    except OSError as error:
        raise InvalidInput(f"ssh cannot be run: {error.strerror}", hint="see whether `ssh -V` runs") from error
