"""`vmrole drive`: disks that the user owns, and that outlive whatever they are attached to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import examples, output_option
from orchestrator.client.client import Client

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire

MIB = 1024 * 1024


class SizeMib(click.ParamType[int]):
    """MiB from "512 MiB", "10GiB" or "2 TiB", as service files have them."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The MiB; a usage error otherwise."""
        from orchestrator.errors import Problem
        from orchestrator.model.drive import SIZE_MIB_MAX, SIZE_MIB_MIN
        from orchestrator.servicefile.fields import size_mib

        if isinstance(value, int):
            return value
        found = size_mib(SIZE_MIB_MIN, SIZE_MIB_MAX)(value)
        if isinstance(found, Problem):
            self.fail(f"{found.message}: {found.hint}", param, ctx)
        return found


_size_option = click.option(
    "--size", "size_mib", type=SizeMib(), required=True, help="How large: 512 MiB, 10 GiB, 2 TiB."
)


@click.group(
    cls=Group,
    epilog=examples(
        "vmrole drive create db-0 --size 10GiB",
        "vmrole drive ls",
        "vmrole drive snapshot db-0",
        "vmrole drive rm db-0",
    ),
)
def drive() -> None:
    """Makes, grows, attaches, copies and removes drives: disks of your own, which outlive services and instances."""


@drive.command(epilog=examples("vmrole drive create db-0 --size 10GiB"))
@click.argument("name")
@_size_option
@click.pass_obj
def create(client: Client, name: str, size_mib: int) -> None:
    """Makes a drive of zeros, which takes no room until something is written to it."""
    _told(client.create_drive(name, size_mib), "made")


@drive.command("ls", epilog=examples("vmrole drive ls", "vmrole drive ls -o wide"))
@output_option
@click.pass_obj
def ls(client: Client, form: str) -> None:
    """Lists drives; with -o wide their snapshots as well, the oldest first."""
    rows, (narrow, more) = client.drives(), _COLUMNS
    if form in ("json", "yaml"):
        render.show([render.dump(rows, form)])
    elif form == "name":
        render.show([row["name"] for row in rows])
    else:
        render.show(render.table([*narrow, *(more if form == "wide" else ())], rows))


@drive.command(epilog=examples("vmrole drive grow db-0 --size 20GiB"))
@click.argument("name", shell_complete=names.drive)
@_size_option
@click.pass_obj
def grow(client: Client, name: str, size_mib: int) -> None:
    """Makes a drive larger; none becomes smaller."""
    _told(client.grow_drive(name, size_mib), f"{render.size(size_mib * MIB)} now")


@drive.command(epilog=examples("vmrole drive snapshot db-0", "vmrole drive snapshot db-0 before-upgrade"))
@click.argument("name", shell_complete=names.drive)
@click.argument("snapshot", default="")
@click.pass_obj
def snapshot(client: Client, name: str, snapshot: str) -> None:
    """Keeps a drive as it is now, by a name, or by the time in UTC.

    It is a copy, without what was never written; where the host's file system can share blocks, it takes no room.
    """
    taken = client.take_snapshot(name, snapshot)
    render.show([f"{name} {snapshot or taken['snapshots'][-1]['name']}: taken"])


@drive.command(epilog=examples("vmrole drive restore db-0 before-upgrade"))
@click.argument("name", shell_complete=names.drive)
@click.argument("snapshot")
@click.pass_obj
def restore(client: Client, name: str, snapshot: str) -> None:
    """Makes a drive what a snapshot has kept: what was written to it since is lost. The snapshot stays."""
    client.restore_drive(name, snapshot)
    render.show([f"{name} {snapshot}: restored"])


@drive.command(
    epilog=examples("vmrole drive attach db-0 web-0 --mount", "vmrole drive attach orders-2026 web-0 --as data")
)
@click.argument("name", shell_complete=names.drive)
@click.argument("instance", shell_complete=names.subject)
@click.option("--mount", "mounted", is_flag=True, help="Its guest formats it if it is blank, and mounts it.")
@click.option("--as", "called", default="", help="By what its guest finds it; else by the drive's own name.")
@click.pass_obj
def attach(client: Client, name: str, instance: str, mounted: bool, called: str) -> None:
    """Gives a drive to an instance, at once where it runs, until it is detached: also through reimages.

    With --mount a Linux has it at /local/NAME; without, it is a disk with the serial number dr-NAME, and no more.
    """
    done = client.attach_drive(name, instance, called=called, mounted=mounted)
    _told(done["drive"], f"attached to {done['drive']['instance']}")
    if done["told"]:
        click.echo(render.plain(f"vmrole: {done['told']}"), err=True)


@drive.command(epilog=examples("vmrole drive detach db-0"))
@click.argument("name", shell_complete=names.drive)
@click.option("--force", is_flag=True, help="Though its guest uses it: what is not written yet is lost.")
@click.pass_obj
def detach(client: Client, name: str, force: bool) -> None:
    """Takes a drive from the instance that it was attached to: unmounted, or refused where its guest uses it."""
    _told(client.detach_drive(name, force=force), "detached")


@drive.command(epilog=examples("vmrole drive rm db-0", "vmrole drive rm db-0 --snapshot before-upgrade"))
@click.argument("name", shell_complete=names.drive)
@click.option("--snapshot", default="", help="This snapshot of it alone.")
@click.pass_obj
def rm(client: Client, name: str, snapshot: str) -> None:
    """Removes a drive with all that is in it and its snapshots, or one snapshot."""
    if snapshot:
        client.remove_snapshot(name, snapshot)
        render.show([f"{name} {snapshot}: removed"])
    else:
        _told(client.remove_drive(name), "removed")


def _told(one: wire.DriveView, what: str) -> None:
    render.show([f"{one['name']}: {what}"])


_COLUMNS: tuple[list[Column[wire.DriveView]], list[Column[wire.DriveView]]] = (
    [
        ("NAME", lambda row: row["name"]),
        ("SIZE", lambda row: render.size(row["size_mib"] * MIB)),
        ("USED", lambda row: "missing" if row["missing"] else render.size(row["used_bytes"])),
        ("INSTANCE", lambda row: (row["instance"] or "") + (" (by hand)" if row["attached"] else "")),
        ("AGE", lambda row: render.ago(row["made_at_s"])),
    ],
    [("SNAPSHOTS", lambda row: ",".join(one["name"] for one in row["snapshots"]))],
)
