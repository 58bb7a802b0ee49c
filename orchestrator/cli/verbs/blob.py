"""`vmrole blob`: what guests have put by."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import examples, output_option
from orchestrator.cli.whole_files import whole_or_none
from orchestrator.client.client import Client
from orchestrator.errors import InvalidInput, NotFound, Permanent

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire

_role = click.option("--role", is_flag=True, help="OWNER is ROLE.SERVICE: what all its instances have together.")
_if_version = click.option(
    "--if-version", metavar="VERSION", help="If the blob has that version still; none: if there is none."
)
_owner = click.argument("owner", shell_complete=names.subject)


@click.group(
    cls=Group,
    epilog=examples(
        "vmrole blob ls web-0.shop", "vmrole blob get web-0.shop state.json", "vmrole blob ls web.shop --role"
    ),
)
def blob() -> None:
    """Lists, fetches, puts and removes what guests have put by with `vmrole-guest blob`."""


@blob.command("ls", epilog=examples("vmrole blob ls web-0.shop", "vmrole blob ls web.shop --role -o json"))
@_owner
@_role
@output_option
@click.pass_obj
def ls(client: Client, owner: str, role: bool, form: str) -> None:
    """Lists the blobs of an instance, or of a role."""
    rows, (narrow, more) = client.blobs(_of(role), owner), _COLUMNS
    if form in ("json", "yaml"):
        render.show([render.dump(rows, form)])
    elif form == "name":
        render.show([row["name"] for row in rows])
    else:
        render.show(render.table([*narrow, *(more if form == "wide" else ())], rows))


@blob.command(epilog=examples("vmrole blob get web-0.shop state.json", "vmrole blob get web-0 a --to /tmp/a"))
@_owner
@click.argument("name")
@_role
@click.option("--to", "file", type=click.Path(path_type=Path), help="Where to; else the blob's name.")
@click.pass_obj
def get(client: Client, owner: str, name: str, role: bool, file: Path | None) -> None:
    """Fetches a blob into a new file. A guest says what is in it: look before you run it."""
    found = next((one for one in client.blobs(_of(role), owner) if one["name"] == name), None)
    if found is None:
        raise NotFound(f"{owner} has no blob {name[:80]!r}", hint="run: vmrole blob ls")
    target = file or Path(found["name"])
    if target.exists():
        raise InvalidInput(f"{target} is there already", hint="name another file: --to FILE")
    digest = hashlib.sha256()
    with whole_or_none(target) as opened:
        for part in client.blob(_of(role), owner, found["name"], found["version"], found["size_bytes"]):
            digest.update(part)
            opened.write(part)
        if digest.hexdigest() != found["sha256"]:
            told = f"the bytes of blob {found['name']} are not those of its digest: its file was changed on the host"
            raise Permanent(told, hint="put it again, or remove it: vmrole blob rm")
    render.show([str(target)])


@blob.command(
    epilog=examples("vmrole blob put web-0.shop state.json", "vmrole blob put web.shop a --role --from /tmp/a")
)
@_owner
@click.argument("name")
@_role
@click.option("--from", "file", type=click.Path(path_type=Path), help="The file; else that of the blob's name.")
@_if_version
@click.pass_obj
def put(client: Client, owner: str, name: str, role: bool, file: Path | None, if_version: str | None) -> None:
    """Puts a file by for a guest, all or nothing of it."""
    source = file or Path(name)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{source}: {error.strerror}", hint="name a file that can be read: --from FILE") from error
    done = client.put_blob(_of(role), owner, name, data, if_version)
    render.show([f"{owner} {done['name']}: put, version {done['version']}"])


@blob.command(epilog=examples("vmrole blob rm web-0.shop state.json"))
@_owner
@click.argument("name")
@_role
@_if_version
@click.pass_obj
def rm(client: Client, owner: str, name: str, role: bool, if_version: str | None) -> None:
    """Removes a blob."""
    done = client.remove_blob(_of(role), owner, name, if_version)
    render.show([f"{owner} {done['name']}: removed"])


def _of(role: bool) -> str:
    return "role" if role else "instance"


_COLUMNS: tuple[list[Column[wire.BlobView]], list[Column[wire.BlobView]]] = (
    [
        ("NAME", lambda row: row["name"]),
        ("SIZE", lambda row: render.size(row["size_bytes"])),
        ("VERSION", lambda row: row["version"] or "damaged"),
        ("AGE", lambda row: render.ago(row["put_at_s"])),
    ],
    [("SHA256", lambda row: row["sha256"])],
)
