"""`vmrole context`: daemons on other hosts, by names of one's own."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import examples
from orchestrator.cli.whole_files import whole_or_none
from orchestrator.client import places
from orchestrator.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client.contexts import Context, Contexts

TOKEN_BYTES_MAX = 1024


@click.group(
    cls=Group,
    epilog=examples(
        "vmrole context add lab --server https://host.example:8443 --ca host.crt --token-stdin",
        "vmrole context use lab",
        "vmrole context ls",
    ),
)
def context() -> None:
    """Names daemons on other hosts, and says which one is meant; without any it is this host's."""


def _file(value: str) -> str:
    """As it will be found from anywhere."""
    return os.path.abspath(value) if value else ""  # noqa: PTH100 - as a word of a file, not to be resolved


@context.command(
    epilog=examples(
        "vmrole context add lab --server https://host.example --ca host.crt --token-stdin",
        "vmrole context add lab --server https://host.example --cert alice.crt --key alice.key",
    )
)
@click.argument("name")
@click.option("--server", metavar="URL", required=True, help="Where it listens: https://HOST or https://HOST:PORT.")
@click.option(
    "--ca",
    metavar="FILE",
    default="",
    help="Its own certificate, or who signed it, as PEM, and nobody else is believed; those of this host otherwise.",
)
@click.option("--cert", "certificate", metavar="FILE", default="", help="A certificate to come with, as PEM.")
@click.option("--key", metavar="FILE", default="", help="The key of that, unless it stands in the same file.")
@click.option(
    "--token-stdin", is_flag=True, help="Read a token from stdin, or ask for it: never a word of the command line."
)
def add(name: str, server: str, ca: str, certificate: str, key: str, token_stdin: bool) -> None:
    """Keeps a daemon under a name, with what you come to it with; the first one is meant from then on.

    It is kept in ~/.config/vmrole/contexts.toml, which nobody else may read.
    """
    from orchestrator.client.contexts import Context, checked, checked_name
    from orchestrator.client.remote import Remote

    checked_name(name)
    known = _load()
    if name in known.by_name:
        raise Conflict(f"there is a context {name!r}", hint=f"vmrole context rm {name}, or take another name")
    token = _token() if token_stdin else ""
    files = {"ca": _file(ca), "certificate": _file(certificate), "key": _file(key)}
    made = checked(Context(server=server, token=token, **files))
    Remote(made.server, **files).check_files()
    current = known.current or ("" if known.by_name else name)
    _save(dataclasses.replace(known, current=current, by_name={**known.by_name, name: made}))
    render.show([f"{name}: {made.server}{' (meant from now on)' if current == name else ''}"])


@context.command(epilog=examples("vmrole context use lab", "vmrole context use --local"))
@click.argument("name", default="", shell_complete=names.context)
@click.option("--local", is_flag=True, help="This host's own daemon again.")
def use(name: str, local: bool) -> None:
    """Says which daemon is meant where no option or variable names one."""
    if bool(name) == local:
        raise click.UsageError("name a context, or say --local")
    known = _load()
    if not local:
        known.get(name)
    _save(dataclasses.replace(known, current=name))
    render.show([f"{name}: {known.by_name[name].server}" if name else "this host's own daemon"])


@context.command("ls", epilog=examples("vmrole context ls"))
def ls() -> None:
    """Lists contexts, the one that is meant with a star; no token is shown."""
    known = _load()
    rows = [(name, one, name == known.current) for name, one in sorted(known.by_name.items())]
    render.show(render.table(_COLUMNS, rows))


@context.command(epilog=examples("vmrole context rm lab"))
@click.argument("name", shell_complete=names.context)
def rm(name: str) -> None:
    """Forgets a context, its token too; the token stays good until it is removed where it was made."""
    known = _load()
    known.get(name)
    left = {other: one for other, one in known.by_name.items() if other != name}
    _save(dataclasses.replace(known, current="" if known.current == name else known.current, by_name=left))
    render.show([f"{name}: removed"])


_COLUMNS: list[Column[tuple[str, Context, bool]]] = [
    ("", lambda row: "*" if row[2] else " "),
    ("NAME", lambda row: row[0]),
    ("SERVER", lambda row: row[1].server),
    ("BY", lambda row: _by(row[1])),
    ("BELIEVES", lambda row: row[1].ca or "the authorities of this host"),
]


def _by(one: Context) -> str:
    return " and ".join(word for word, has in (("token", one.token), ("certificate", one.certificate)) if has)


def _token() -> str:
    if sys.stdin.isatty():
        said = str(click.prompt("token", hide_input=True, err=True))
    else:
        said = sys.stdin.read(TOKEN_BYTES_MAX)
    if not said.strip():
        raise InvalidInput("there is no token in what came from stdin", hint="as vmrole token create has printed it")
    return said.strip()


def _load() -> Contexts:
    from orchestrator.client.contexts import load

    return load(_place())


def _place() -> str:
    file = places.contexts_file()
    if not file:
        raise NotFound("you have no home directory", hint="set HOME, or XDG_CONFIG_HOME")
    return file


def _save(contexts: Contexts) -> None:
    from orchestrator.client.contexts import text

    file = Path(_place())
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{file.parent}: {error.strerror}", hint="make it a directory of yours") from error
    with whole_or_none(file) as target:
        target.write(text(contexts).encode())
