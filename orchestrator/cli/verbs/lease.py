"""`vmrole lease`: an instance for oneself, for a while."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import click

from orchestrator.cli import jobs, names, render
from orchestrator.cli.groups import Group
from orchestrator.cli.options import Duration, WithLength, examples, output_option
from orchestrator.cli.waiting import end_of
from orchestrator.client import holding
from orchestrator.client.client import Client
from orchestrator.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.cli.render import Column
    from orchestrator.client import wire

_EXAMPLES = (
    "vmrole lease shop --for 30m -- sh -c 'vmrole exec $VMROLE_INSTANCE make test'",
    "vmrole lease shop --for 2h",
    "vmrole lease ls",
    "vmrole lease end lease-0123456789ab",
)


class _Leases(Group):
    """A group whose first command may be left out: `vmrole lease shop` is `vmrole lease take shop`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["take", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Leases, epilog=examples(*_EXAMPLES))
def lease() -> None:
    """Gives one client an instance for a while, out of rotation, and makes it anew after him.

    For short, vmrole lease SERVICE --for TIME -- COMMAND takes one.
    """


@lease.command(cls=WithLength, epilog=examples(*_EXAMPLES[:2], "vmrole lease take shop --role web --for 30m --json"))
@click.argument("service", shell_complete=names.service)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--role", default="", help="Of which role; of the only one unless given.")
@click.option("--for", "for_s", type=Duration(), required=True, metavar="TIME", help="For how long: 90s, 30m, 2h.")
@click.option(
    "--timeout", type=Duration(), help="Wait at most so long for an instance: 90s, 10m. Exit status 4 then."
)
@click.option("--json", "as_json", is_flag=True, help="Print the lease as JSON; without COMMAND.")
@click.pass_context
def take(
    ctx: click.Context,
    service: str,
    command: tuple[str, ...],
    role: str,
    for_s: float,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Waits for an instance of SERVICE that is ready, runs COMMAND, and gives it back; the exit status is COMMAND's.

    First come, first served; the place in the queue is told. It leaves rotation first, and at the end it is reimaged,
    whatever has happened: COMMAND has ended, this was killed, the time is over. COMMAND finds VMROLE_INSTANCE,
    VMROLE_ADDRESS, VMROLE_SSH, VMROLE_LEASE and others in its environment. At the end of the time it gets SIGTERM, or
    what has interrupted this, and after 10 s SIGKILL, with all of its process group. Without COMMAND the lease is
    printed, and ends by its time or by: vmrole lease end.
    """
    client: Client = ctx.obj
    if command and as_json:
        raise click.UsageError("--json prints a lease; COMMAND finds it in its environment")
    if command and shutil.which(command[0]) is None:
        raise InvalidInput(
            f"there is no program {command[0][:80]!r}",
            hint="it runs here; in the guest: vmrole exec. A time of two words is quoted: '30 min'",
        )
    until = end_of(timeout)
    with jobs.interruptible():
        asked = client.lend(service, role, for_s)
        if not command:
            _leave(client, asked, until, as_json)
            return 0
        with holding.ended_after(client, asked["id"], render.say):
            given = holding.until_given(client, asked, until, _teller())
            render.say(f"{given['id']}: {given['instance']} at {given['address']} until {_until(given)}")
            held = holding.Held(client, given)
            status = jobs.run(command, {**_environment(given), **_daemon(ctx)}, held.look)
            if held.over:
                render.say(f"{given['id']}: {held.over}; {command[0]} was ended")
    return status


def _leave(client: Client, asked: wire.LeaseView, until: float | None, as_json: bool) -> None:
    """Waits for it and leaves it to its time; what goes wrong before that ends it."""
    try:
        given = holding.until_given(client, asked, until, _teller())
        given = client.attend(given["id"], on=False)
        if as_json:
            render.show([json.dumps(given | {"ssh": _ssh(given)})])
        else:
            render.show(render.table([*_COLUMNS[:4], ("SSH", _ssh)], [given]))
    except BaseException:
        holding.end_surely(client, asked["id"])
        raise


@lease.command("ls", epilog=examples("vmrole lease ls", "vmrole lease ls shop -o json"))
@click.argument("service", default="", shell_complete=names.service)
@output_option
@click.pass_obj
def ls(client: Client, service: str, form: str) -> None:
    """Lists leases, and who waits for one: in the order in which they were asked for."""
    rows = client.leases(service)
    if form in ("json", "yaml"):
        render.show([render.dump(rows, form)])
    elif form == "name":
        render.show([row["id"] for row in rows])
    else:
        render.show(render.table([*_COLUMNS, *(_MORE if form == "wide" else ())], rows))


@lease.command(epilog=examples("vmrole lease end lease-0123456789ab"))
@click.argument("lease_id", metavar="LEASE")
@click.pass_obj
def end(client: Client, lease_id: str) -> None:
    """Ends a lease now, whoever's; its instance is reimaged. Whoever runs COMMAND by it sees that ended as well."""
    ended = client.end_lease(lease_id)
    told = f"; {ended['instance']} is made anew" if ended["instance"] else ""
    render.show([f"{ended['id']}: ended{told}"])


def _teller() -> Callable[[wire.LeaseView], None]:
    """Says what is waited for, each time that it is something else."""
    last = ""

    def tell(row: wire.LeaseView) -> None:
        nonlocal last
        now = f"place {row['place']} in the queue: {row['waiting']}" if row["place"] else row["waiting"]
        if now != last:
            render.say(f"{row['id']}: {now}")
            last = now

    return tell


def _environment(given: wire.LeaseView) -> Mapping[str, str]:
    """What COMMAND learns of the lease."""
    return {
        "VMROLE_LEASE": given["id"],
        "VMROLE_SERVICE": given["service"],
        "VMROLE_ROLE": given["role"],
        "VMROLE_INSTANCE": given["instance"],
        "VMROLE_HOSTNAME": given["hostname"],
        "VMROLE_ADDRESS": given["address"],
        "VMROLE_UNTIL": f"{given['until_s']:.0f}",
        "VMROLE_SSH": _ssh(given),
    }


def _daemon(ctx: click.Context) -> Mapping[str, str]:
    """Which daemon was asked, so that a vmrole in COMMAND asks the same."""
    said = ctx.find_root().params
    return {f"VMROLE_{key.upper()}": said[key] for key in ("socket", "server", "context") if said.get(key)}


def _ssh(row: wire.LeaseView) -> str:
    return f"vmrole ssh {row['instance']}" if row["instance"] else ""


def _until(row: wire.LeaseView) -> str:
    return render.clock(row["until_s"]) if row["given"] else ""


_COLUMNS: Sequence[Column[wire.LeaseView]] = (
    ("LEASE", lambda row: row["id"]),
    ("INSTANCE", lambda row: row["instance"]),
    ("ADDRESS", lambda row: row["address"]),
    ("UNTIL", _until),
    ("SERVICE", lambda row: row["service"]),
    ("ROLE", lambda row: row["role"]),
    ("PLACE", lambda row: str(row["place"] or "")),
    ("WAITING", lambda row: row["waiting"]),
)
_MORE: Sequence[Column[wire.LeaseView]] = (
    ("FOR", lambda row: render.length(row["for_s"])),
    ("ASKED", lambda row: render.clock(row["asked_at_s"])),
    ("ATTENDED", lambda row: "yes" if row["attended"] else "no"),
    ("BY", lambda row: "" if row["by"] is None else str(row["by"])),
)
