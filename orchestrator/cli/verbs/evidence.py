"""`vmrole evidence`: what was kept of instances that failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import examples, output_option
from orchestrator.cli.whole_files import whole_or_none
from orchestrator.client.client import Client
from orchestrator.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.render import Column
    from orchestrator.client import wire


@click.group(
    cls=Group,
    epilog=examples("vmrole evidence ls", "vmrole evidence get web-0.shop", "vmrole evidence rm web-0.shop 1-2"),
)
def evidence() -> None:
    """Shows what was kept of instances that failed, before anything was repaired."""


@evidence.command("ls", epilog=examples("vmrole evidence ls", "vmrole evidence ls web-0.shop"))
@click.argument("instance", default="", shell_complete=names.subject)
@output_option
@click.pass_obj
def ls(client: Client, instance: str, form: str) -> None:
    """Lists failures, the oldest first: MARK is the generation and the boot.

    The last five of an instance are kept, and go with it; of the whole host as much as evidence_most, evidence_mib
    and evidence_days in vmrole.toml say.
    """
    rows, (narrow, more) = client.evidence(instance), _COLUMNS
    if form in ("json", "yaml"):
        render.show([render.dump(rows, form)])
    elif form == "name":
        render.show([f"{row['instance']} {row['mark']}" for row in rows])
    else:
        render.show(render.table([*narrow, *(more if form == "wide" else ())], rows))


@evidence.command(epilog=examples("vmrole evidence get web-0.shop", "vmrole evidence get web-0 1-2 --to a.tar.zst"))
@click.argument("instance", shell_complete=names.subject)
@click.argument("mark", default="")
@click.option("--to", "file", type=click.Path(path_type=Path), help="Where to; else INSTANCE-MARK.tar.zst.")
@click.pass_obj
def get(client: Client, instance: str, mark: str, file: Path | None) -> None:
    """Fetches all files of a failure as a .tar.zst; without MARK of the last one.

    The file manifest.json says what they are and what could not be had: the reason, console, screen, journal,
    what the agent said last, the ledger, what libvirt and QEMU say, and the answers, without secrets. What a
    guest prints may be anything: look through it before you pass it on.
    """
    one = _meant(client.evidence(instance), instance, mark)
    target = file or Path(f"{one['instance']}-{one['mark']}.tar.zst")
    if target.exists():
        raise InvalidInput(f"{target} is there already", hint="name another file: --to FILE")
    if target.suffix in (".gz", ".tgz"):
        raise InvalidInput(f"{target}: what is fetched is compressed by Zstandard", hint="--to FILE.tar.zst")
    with whole_or_none(target) as opened:
        client.save_evidence(one["instance"], one["mark"], opened)
    render.show([str(target)])


@evidence.command(epilog=examples("vmrole evidence rm web-0.shop 1-2", "vmrole evidence rm web-0.shop --all"))
@click.argument("instance", shell_complete=names.subject)
@click.argument("mark", default="")
@click.option("--all", "every", is_flag=True, help="All that is kept of the instance.")
@click.pass_obj
def rm(client: Client, instance: str, mark: str, every: bool) -> None:
    """Removes what is kept of a failure."""
    if bool(mark) == every:
        raise click.UsageError("say which: MARK as `vmrole evidence ls` shows it, or --all")
    there = client.evidence(instance)
    for one in there if every else [_meant(there, instance, mark)]:
        client.remove_evidence(one["instance"], one["mark"])
        render.show([f"{one['instance']} {one['mark']} removed"])


def _meant(there: Sequence[wire.Capsule], instance: str, mark: str) -> wire.Capsule:
    """That of this mark, or the last; raises NotFound."""
    matching = [one for one in there if mark in ("", one["mark"])]
    if not matching:
        what = f"as {mark[:40]!r}" if mark else "yet: it has not failed"
        raise NotFound(f"nothing is kept of {instance} {what}", hint="run: vmrole evidence ls")
    return matching[-1]


_COLUMNS: tuple[list[Column[wire.Capsule]], list[Column[wire.Capsule]]] = (
    [
        ("INSTANCE", lambda row: row["instance"]),
        ("MARK", lambda row: row["mark"]),
        ("TIME", lambda row: render.clock(row["at_s"])),
        ("SIZE", lambda row: render.size(row["size_bytes"])),
        ("REASON", lambda row: row["reason"]),
    ],
    [("FILES", lambda row: ",".join(row["files"]))],
)
