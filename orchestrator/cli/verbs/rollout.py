"""`vmrole rollout`: how far a change of a service is, which files it had, and back to one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import names, render
from orchestrator.cli.applying import changed, tell_applied, wait_for
from orchestrator.cli.groups import Group
from orchestrator.cli.listing import progress_of
from orchestrator.cli.options import examples, wait_options
from orchestrator.cli.waiting import end_of
from orchestrator.client import states
from orchestrator.client.client import Client

if TYPE_CHECKING:
    from orchestrator.cli.render import Column
    from orchestrator.client import wire

    _Has = Column[tuple[wire.InstanceView, int]]  # an instance, and of which revision its VM is

_SERVICE = click.argument("service", shell_complete=names.service)
_INSTANCES_SHOWN = 6  # of a revision; then how many more


@click.group(cls=Group, epilog=examples("vmrole rollout status shop", "vmrole rollout undo shop --wait"))
def rollout() -> None:
    """Says how far a change of a service is, pauses it, and goes back to an earlier file."""


@rollout.command(epilog=examples("vmrole rollout status shop"))
@_SERVICE
@click.pass_obj
def status(client: Client, service: str) -> None:
    """Says how far a service is on its way to its newest file, and of which revision each instance is."""
    found = client.rollout(service)
    rows = [(row, found["instances"].get(row["name"], 0)) for row in client.instances(service)]
    behind = sum(row["stale"] for row, _ in rows)
    left = f"; {behind} of {len(rows)} instances not as the file says" if behind else ""
    render.show([f"{service}: revision {found['file_revision']}{_state(found)}{left}"])
    if rows:
        domains: list[_Has] = [("DOMAIN", lambda has: str(has[0]["domain"]))]
        render.show(render.table([*_INSTANCES, *(domains if found["upgrade"]["domains"] else [])], rows))
    render.show(comparison(found))


def comparison(found: wire.RolloutView) -> list[str]:
    """How the canary is beside the others; nothing without one."""
    return ["", *render.table(_COMPARED, found["compared"])] if found["compared"] else []


_COMPARED: list[Column[wire.Compared]] = [
    ("", lambda row: row["name"]),
    ("SERVING", lambda row: f"{row['serving']}/{row['instances']}"),
    ("UP", lambda row: "" if row["up"] is None else f"{row['up']}/{row['instances']}"),
    ("PROBE FAILS", lambda row: str(row["unwell"])),
    ("FAILED", lambda row: str(row["failed"])),
    ("HEALED", lambda row: str(row["strikes"])),
    ("ERRORS", lambda row: "" if row["errors"] is None else f"{row['errors']}/{row['begun']}"),
]
_INSTANCES: list[_Has] = [
    ("INSTANCE", lambda has: has[0]["name"]),
    ("REVISION", lambda has: str(has[1] or "?")),
    ("PHASE", lambda has: has[0]["phase"]),
    ("WAITS FOR", lambda has: has[0]["failure"] if states.has_failed(has[0]["phase"]) else has[0]["waiting"]),
]


def _state(found: wire.RolloutView) -> str:
    """What there is to say of the rollout; "" where there has been none to this file."""
    last = found["rollout"]
    if last is None:
        return ""
    what = f"the rollout from {last['from_revision'] or '?'} to {last['to_revision']}"
    state = "halted" if last["progress"] == "failed" else progress_of(last)
    return f"; {what} is {state}" + (f" ({last['message']})" if last["message"] else "")


@rollout.command(epilog=examples("vmrole rollout history shop"))
@_SERVICE
@click.pass_obj
def history(client: Client, service: str) -> None:
    """Lists the last files of a service: when each was applied, by whom, what it changed, which instances have it."""
    for one in client.revisions(service):
        at = render.clock(one["applied_at_s"]) if one["applied_at_s"] else "at an unknown time"
        by = "" if one["applied_by"] is None else f" by uid {one['applied_by']}"
        back = f", back to revision {one['restores']}" if one["restores"] else ""
        head = f"revision {one['number']}: applied {at}{by}{back}"
        lines = changed(one["changes"]) or ["what it changed is no longer known"]
        render.show([head, *(f"  {line}" for line in [*lines, _holders(one)])])


def _holders(one: wire.RevisionView) -> str:
    have = one["instances"]
    more = f" and {len(have) - _INSTANCES_SHOWN} more" if len(have) > _INSTANCES_SHOWN else ""
    return f"of it are: {', '.join(have[:_INSTANCES_SHOWN])}{more}" if have else "no instance is of it"


@rollout.command(epilog=examples("vmrole rollout undo shop --wait", "vmrole rollout undo shop --to 3 --dry-run"))
@_SERVICE
@click.option("--to", type=click.IntRange(1), metavar="N", help="To this revision; to the one before the last else.")
@click.option("--dry-run", is_flag=True, help="Say what would change and change nothing.")
@click.option("--expect", type=click.IntRange(1), help="Only if the service's record is at this revision.")
@wait_options
@click.pass_obj
def undo(
    client: Client,
    service: str,
    to: int | None,
    dry_run: bool,
    expect: int | None,
    waits: bool,
    timeout: float | None,
) -> int:
    """Applies an earlier file of a service again, as a new revision; a rollout that runs is superseded.

    A number of instances that somebody has scaled to since the last file stays as it is.
    """
    until = end_of(timeout)
    applied = client.undo(service, to=to, dry_run=dry_run, expected=expect)
    if dry_run:
        render.show(changed(applied["changes"]) or ["nothing would change"])
        return 0
    tell_applied(applied, waits=waits)
    return wait_for(client, [applied], until) if waits else 0


@rollout.command(epilog=examples("vmrole rollout pause shop", "vmrole rollout status shop"))
@_SERVICE
@click.pass_obj
def pause(client: Client, service: str) -> None:
    """Begins no further instance of the rollout that runs; who is under way goes on.

    Another file that is applied, or an undo, supersedes it and is rolled out at once.
    """
    client.pause(service, on=True)
    render.show([f"{service}: its rollout is paused"])
    render.say(f"go on with it: vmrole rollout resume {service}")


@rollout.command("next", epilog=examples("vmrole rollout next shop", "vmrole rollout status shop"))
@_SERVICE
@click.pass_obj
def next_domain(client: Client, service: str) -> None:
    """Lets the next domain of a rollout go, where the service's file says upgrade: {mode: manual}."""
    found = client.next_domain(service)
    render.show([f"{service}: the next domain may go"])
    if found["rollout"] is not None:
        render.say(f"ask: vmrole rollout status {service}")


@rollout.command(epilog=examples("vmrole rollout resume shop", "vmrole wait shop"))
@_SERVICE
@click.pass_obj
def resume(client: Client, service: str) -> None:
    """Goes on with a rollout that is paused, by its canary as well, or takes up what a halted one has left to do."""
    client.pause(service, on=False)
    render.show([f"{service}: its rollout goes on"])
