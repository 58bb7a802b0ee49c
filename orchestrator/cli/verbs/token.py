"""`vmrole token`: who may come from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import Duration, examples
from orchestrator.client.client import Client
from orchestrator.client.clock import now_s

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire

RIGHTS = ("viewer", "operator", "admin")
_EXPIRES = "90d"


@click.group(
    cls=Group, epilog=examples("vmrole token create ci --role operator", "vmrole token ls", "vmrole token rm ci")
)
def token() -> None:
    """Says who may ask the daemon from the network, and for what; see api_listen in vmrole.toml."""


@token.command(
    epilog=examples(
        "vmrole token create ci --role operator --expires 30d",
        "vmrole token create alice@example.com --role admin --certificate",
    )
)
@click.argument("name")
@click.option(
    "--role",
    "right",
    type=click.Choice(RIGHTS),
    required=True,
    help="What he may do: look at what holds no secret; or restart, scale and roll out as well; or everything.",
)
@click.option(
    "--expires",
    type=Duration(),
    default=_EXPIRES,
    show_default=True,
    help="For how long it is good: 12h, 30d, ten years at most.",
)
@click.option(
    "--certificate",
    is_flag=True,
    help="No secret: he comes with a certificate of api_client_ca whose common name is NAME.",
)
@click.pass_obj
def create(client: Client, name: str, right: wire.Right, expires: float, certificate: bool) -> None:
    """Makes a token and prints its secret, this once; on the host itself alone.

    The secret is kept nowhere: who loses it gets another. Give it to him by a way that nobody reads, and he keeps it
    with: vmrole context add.
    """
    wish: wire.TokenWish = {"name": name, "right": right, "life_s": expires, "certificate": certificate}
    made = client.create_token(wish)
    until = render.clock(made["token"]["expires_at_s"])
    if certificate:
        render.say(f"who comes with the certificate of {name} is {right} until {until}")
        return
    render.show([made["secret"]])
    render.say(f"{name} is {right} until {until}; the secret is not shown again")


@token.command("ls", epilog=examples("vmrole token ls"))
@click.pass_obj
def ls(client: Client) -> None:
    """Lists tokens: what each may do, until when, and who made it; no secret can be shown."""
    render.show(render.table(_COLUMNS, client.tokens()))


@token.command(epilog=examples("vmrole token rm ci"))
@click.argument("name", shell_complete=names.token)
@click.pass_obj
def rm(client: Client, name: str) -> None:
    """Takes a token away: who comes by it is refused from now on, and what he watches ends."""
    render.show([f"{client.remove_token(name)['name']}: removed"])


def _until(row: wire.TokenView) -> str:
    until = render.clock(row["expires_at_s"])
    return until if now_s() < row["expires_at_s"] else f"{until} (expired)"


_COLUMNS: list[Column[wire.TokenView]] = [
    ("NAME", lambda row: row["name"]),
    ("ROLE", lambda row: row["right"]),
    ("BY", lambda row: "certificate" if row["certificate"] else "secret"),
    ("UNTIL", _until),
    ("MADE", lambda row: f"{render.clock(row['made_at_s'])} by {row['made_by']}"),
]
