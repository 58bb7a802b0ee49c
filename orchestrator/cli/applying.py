"""What verbs about service files share: the files, what would change, what was applied. No verb's work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from orchestrator.cli import gathering, render
from orchestrator.cli.gathering import Fault, Given, refuse
from orchestrator.cli.progress import progress
from orchestrator.cli.refusals import report
from orchestrator.cli.waiting import until_over, until_settled
from orchestrator.client.client import PRODUCTION, SLOTS, Client
from orchestrator.client.transport import refused
from orchestrator.errors import VmroleError

if TYPE_CHECKING:
    from orchestrator.client import wire


class OfFiles(click.Command):
    """Its files are named by -f, as kubectl's are; who forgets that is told so."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's."""
        ctx.allow_extra_args = True
        left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            ctx.fail(f"Files are named by -f: {ctx.command_path} -f {left[0]}")
        return left


files_option = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="A service file, of one or several documents; a directory means the service files in it, - is stdin. "
    "May be given again.",
)


slot_option = click.option(
    "--slot",
    type=click.Choice(SLOTS),
    default=PRODUCTION,
    show_default=True,
    help="Where: in staging, beside what is in production, until they are swapped.",
)


def changed(changes: Iterable[wire.Change]) -> list[str]:
    """A line for each change: what, from, to, and what that does."""
    lines = []
    for change in changes:
        before, after = render.plain(change["before"]), render.plain(change["after"])
        sign = "+" if not before else "-" if not after else "~"
        moved = f"{before} -> {after}" if before and after else before or after
        lines.append(f"{sign} {change['key']}: {moved} ({change['effect']})")
    return lines


def gathered(files: tuple[str, ...]) -> tuple[list[Given], list[Fault]]:
    """The files that are named, and what is wrong with them."""
    if not files:
        raise click.UsageError("name a service file: -f FILE")
    return gathering.given(files)


def checked_files(
    client: Client,
    given: list[Given],
    faults: list[Fault],
    expect: int | None = None,
    *,
    slot: wire.Slot = PRODUCTION,
    alone: bool = True,
) -> list[list[wire.Change]] | int:
    """What each document would change; or the exit status, when there are faults and they have been told.

    A document without others need not be checked before it is applied: () then, unless `alone` asks for it.
    """
    if len(given) == 1 and not faults:
        if not alone:
            return []
        try:
            return [client.apply(given[0].text, slot=slot, dry_run=True, expected=expect)["changes"]]
        except VmroleError as error:
            return refuse([Fault(of=given[0], error=error)], 1)
    gathering.bounded(given)
    checked = client.check([one.text for one in given], slot) if given else []
    doubled = {id(fault.of) for fault in faults}
    for one, answer in zip(given, checked, strict=True):
        if answer["refusal"] is not None and id(one) not in doubled:
            faults.append(Fault(of=one, error=refused(answer["refusal"])))
    if faults:
        return refuse(faults, len(given) + sum(isinstance(fault.of, str) for fault in faults))
    return [answer["changes"] for answer in checked]


def tell_applied(applied: wire.AppliedView, *, waits: bool) -> None:
    """What an apply did, and how one watches what it has begun."""
    assert applied["service"] is not None
    name = applied["service"]["name"]
    verb = "unchanged" if not applied["changes"] else "applied"
    render.show([f"{name}: {verb}", *changed(applied["changes"])])
    if applied["operation"] is not None and not waits:
        render.say(f"rolling out; watch it with: vmrole wait {name} --for=serving")


def wait_for(client: Client, applied: Iterable[wire.AppliedView], until: float | None) -> int:
    """Waits for all services, also when one of them fails; the exit status is that of the first that does."""
    failed: list[VmroleError] = []
    for one in applied:
        assert one["service"] is not None
        try:
            if one["operation"] is not None:
                until_over(client, one["operation"], until, progress())
            until_settled(client, one["service"]["name"], until)
        except VmroleError as error:
            failed.append(error)
    for one_more in failed[1:]:
        report(one_more)
    if failed:
        raise failed[0]
    return 0
