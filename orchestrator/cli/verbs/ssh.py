"""`vmrole ssh` and `vmrole ssh-config`: into instances, by ssh of this host."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.options import examples
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, RequestError

if TYPE_CHECKING:
    from orchestrator.client import wire

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def _user(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A user that is a word of ssh's configuration, and nothing else."""
    if value is not None and not _USER.fullmatch(value):
        raise click.BadParameter(f"{value[:64]!r} is no name of a user")
    return value


_USER_OPTION = click.option("--user", "-u", metavar="NAME", callback=_user, help="Who to be in the guest.")


@click.command(epilog=examples("vmrole ssh-config shop --user debian"))
@click.argument("subject", default="", shell_complete=names.subject)
@_USER_OPTION
@click.pass_obj
def ssh_config(client: Client, subject: str, user: str | None) -> None:
    """Prints a Host block of ssh_config(5) for each instance: an Include of it, and ssh knows them by name.

    SUBJECT narrows to an instance, a role (web.shop) or a service. A host key is kept under the instance's name, not
    its address, which another instance may have one day.
    """
    for instance in client.instances(subject):
        render.show(block(instance, user))


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples("vmrole ssh web-0.shop", "vmrole ssh --user debian web-0 uptime"),
)
@click.argument("instance", shell_complete=names.subject)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_USER_OPTION
@click.pass_obj
def ssh(client: Client, instance: str, command: tuple[str, ...], user: str | None) -> None:
    """Runs ssh to an instance: a login, or the COMMAND behind its name. The exit status is ssh's."""
    found = client.instance(instance)
    if found["phase"] in ("stopped", "requested"):
        raise Conflict(
            f"{found['name']} is {found['phase']}: nothing answers there", hint=f"vmrole why {found['name']}"
        )
    words = ["ssh", "-o", f"HostKeyAlias={found['name']}"]
    if user is not None:
        words += ["-l", user]
    try:
        os.execvp("ssh", [*words, "--", found["address"], *command])  # noqa: S606 - the terminal is its own now
    except FileNotFoundError as error:
        raise RequestError("ssh is not installed", hint="apt install openssh-client") from error
    except OSError as error:
        raise InvalidInput(f"ssh cannot be run: {error.strerror}", hint="see whether `ssh -V` runs") from error


def block(instance: wire.Instance, user: str | None) -> list[str]:
    """The lines for one instance, which is known by its full name."""
    lines = [
        f"Host {instance['name']}",
        f"    HostName {instance['address']}",
        f"    HostKeyAlias {instance['name']}",
    ]
    return [*lines, f"    User {user}", ""] if user is not None else [*lines, ""]
