"""Verbs about services: apply, diff, scale, delete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import gathering, names, render
from orchestrator.cli.gathering import Fault, Given, refuse
from orchestrator.cli.main import exit_status, report
from orchestrator.cli.options import examples, finding, selector_option, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.waiting import end_of, until_gone, until_over, until_serving, until_settled
from orchestrator.client.client import Client
from orchestrator.client.transport import refused
from orchestrator.errors import Conflict, InvalidInput, NotFound, VmroleError

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


def changed(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each change: what, from, to, and what that does."""
    lines = []
    for change in changes:
        before, after = render.plain(change["before"]), render.plain(change["after"])
        sign = "+" if not before else "-" if not after else "~"
        moved = f"{before} -> {after}" if before and after else before or after
        lines.append(f"{sign} {change['key']}: {moved} ({change['effect']})")
    return lines


@click.command(
    cls=OfFiles,
    epilog=examples("vmrole apply -f shop.yaml --wait", "vmrole apply -f services/ -f more.yaml --dry-run"),
)
@files_option
@click.option("--dry-run", is_flag=True, help="Say what would change and change nothing.")
@click.option("--expect", type=click.IntRange(0), help="Only if the service is at this revision (0: does not exist).")
@wait_options
@click.pass_obj
def apply(
    client: Client, files: tuple[str, ...], dry_run: bool, expect: int | None, waits: bool, timeout: float | None
) -> int:
    """Makes services as their files say: deploys them, changes them, or finds nothing to do.

    All files are read and checked before the first service is touched.
    """
    until = end_of(timeout)
    given, faults = _gathered(files)
    if expect is not None and len(given) > 1:
        raise click.UsageError("--expect is for one service")
    checked = _checked(client, given, faults, expect, alone=dry_run)
    if isinstance(checked, int):
        return checked
    if dry_run:
        for one, changes in zip(given, checked, strict=True):
            head = [f"{one.service}:"] if len(given) > 1 else []
            render.show([*head, *(changed(changes) or ["nothing would change"])])
        return 0
    applied = []
    for one in given:
        try:
            applied.append(client.apply(one.text, expected=expect))
        except VmroleError as error:
            return refuse([Fault(of=one, error=error)], len(given), done=len(applied))
        tell_applied(applied[-1], waits=waits)
    return wait_for(client, applied, until) if waits else 0


def _gathered(files: tuple[str, ...]) -> tuple[list[Given], list[Fault]]:
    if not files:
        raise click.UsageError("name a service file: -f FILE")
    return gathering.given(files)


def _checked(
    client: Client, given: list[Given], faults: list[Fault], expect: int | None = None, *, alone: bool = True
) -> list[list[wire.Change]] | int:
    """What each document would change; or the exit status, when there are faults and they have been told.

    A document without others need not be checked before it is applied: () then, unless `alone` asks for it.
    """
    if len(given) == 1 and not faults:
        if not alone:
            return []
        try:
            return [client.apply(given[0].text, dry_run=True, expected=expect)["changes"]]
        except VmroleError as error:
            return refuse([Fault(of=given[0], error=error)], 1)
    gathering.bounded(given)
    checked = client.check([one.text for one in given]) if given else []
    doubled = {id(fault.of) for fault in faults}
    for one, answer in zip(given, checked, strict=True):
        if answer["refusal"] is not None and id(one) not in doubled:
            faults.append(Fault(of=one, error=refused(answer["refusal"])))
    if faults:
        return refuse(faults, len(given) + sum(isinstance(fault.of, str) for fault in faults))
    return [answer["changes"] for answer in checked]


def tell_applied(applied: wire.Applied, *, waits: bool) -> None:
    """What an apply did, and how one watches what it has begun."""
    assert applied["service"] is not None
    name = applied["service"]["name"]
    verb = "unchanged" if not applied["changes"] else "applied"
    render.show([f"{name}: {verb}", *changed(applied["changes"])])
    if applied["operation"] is not None and not waits:
        render.say(f"rolling out; watch it with: vmrole wait {name} --for=serving")


def wait_for(client: Client, applied: Iterable[wire.Applied], until: float | None) -> int:
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


@click.command(cls=OfFiles, epilog=examples("vmrole diff -f shop.yaml"))
@files_option
@click.pass_obj
@finding
def diff(client: Client, files: tuple[str, ...]) -> int:
    """Says what apply would change. Exit status 0 when nothing, 1 when something, more when it cannot tell."""
    given, faults = _gathered(files)
    checked = _checked(client, given, faults)
    if isinstance(checked, int):
        return checked
    for one, changes in zip(given, checked, strict=True):
        head = [f"{one.service}:"] if len(given) > 1 and changes else []
        render.show([*head, *changed(changes)])
    return 1 if any(checked) else 0


@click.command(epilog=examples("vmrole scale web.shop --instances 5", "vmrole scale shop web=5 db=2 --wait"))
@click.argument("subject", metavar="ROLE.SERVICE|SERVICE", shell_complete=names.subject)
@click.argument("counts", nargs=-1, metavar="[ROLE=N]...")
@click.option("--instances", type=click.IntRange(0), help="How many, of ROLE.SERVICE.")
@click.option("--expect", type=click.IntRange(0), help="Only if the service is at this revision.")
@wait_options
@click.pass_obj
def scale(
    client: Client,
    subject: str,
    counts: tuple[str, ...],
    instances: int | None,
    expect: int | None,
    waits: bool,
    timeout: float | None,
) -> None:
    """Changes how many instances a role has: `scale web.shop --instances 5` or `scale shop web=5`."""
    until = end_of(timeout)
    role, dot, service = subject.partition(".")
    if dot and instances is not None and not counts:
        wanted = {role: instances}
    elif not dot and instances is None and counts:
        service, wanted = subject, dict(_count(word) for word in counts)
    else:
        raise click.UsageError("write: scale ROLE.SERVICE --instances N, or: scale SERVICE ROLE=N")
    client.scale(service, wanted, expected=expect)
    render.show(f"{name}.{service}: {number} instance{'s' * (number != 1)}" for name, number in wanted.items())
    if waits:
        until_serving(client, service, until, progress())


def _count(word: str) -> tuple[str, int]:
    role, _, number = word.partition("=")
    if not (role and number.isascii() and number.isdigit()):
        raise click.UsageError(f"{word!r} is not ROLE=N")
    return role, int(number)


@click.command(
    epilog=examples(
        "vmrole delete service shop --wait", "vmrole delete service -l env=test", "vmrole delete -f services/"
    )
)
@click.argument("kind", metavar="[service]", required=False)
@click.argument("name", shell_complete=names.service, required=False)
@files_option
@selector_option("services")
@wait_options
@click.pass_obj
def delete(
    client: Client,
    kind: str | None,
    name: str | None,
    files: tuple[str, ...],
    selector: str | None,
    waits: bool,
    timeout: float | None,
) -> int:
    """Removes services with all their instances, local storage included: one by its name, or those of files.

    There is no question: what is deleted is named in the command. Of files only the names of services are read. -l
    goes by the labels of services, not by those of roles.
    """
    until = end_of(timeout)
    ways = [name is not None, bool(files), selector is not None]
    if ways.count(True) != 1 or (kind == "service") is bool(files) or kind not in (None, "service"):
        raise click.UsageError(f"write: delete service {name or _named(kind)}, or: service -l LABELS, or: -f FILE")
    if selector is not None:
        services, missing = _removed_by_labels(client, selector), 0
    elif name is not None:
        client.remove(name)
        services, missing = [name], 0
        render.show([f"{name}: being deleted"])
    else:
        given, faults = gathering.given(files)
        faults += [Fault(of=one, error=_NAMELESS) for one in given if not one.service]
        if faults:
            return refuse(faults, len(given) + sum(isinstance(fault.of, str) for fault in faults))
        services, missing = _removed(client, [one.service for one in given])
    for service in services if waits else ():
        until_gone(client, service, until, progress(), removed=True)
        render.show([f"{service}: gone"])
    return missing


def _removed_by_labels(client: Client, selector: str) -> list[str]:
    """Each as it was when it was selected: one that is applied anew meanwhile may have other labels."""
    found = [one for one in client.services(labels=selector) if not one["removing"]]
    if not found:
        told = f"no service has the labels {selector[:80]!r}"
        raise Conflict(told, hint="run: vmrole get services --show-labels")
    for one in found:
        client.remove(one["name"], expected=one["revision"])
        render.show([f"{one['name']}: being deleted"])
    return [one["name"] for one in found]


def _named(word: str | None) -> str:
    return word if word not in (None, "service") else "NAME"


_NAMELESS = InvalidInput("names no service", hint="write: service: NAME")


def _removed(client: Client, services: Iterable[str]) -> tuple[list[str], int]:
    """Asks for the removal of each; those that there are, and the exit status: what is missing stops no other."""
    asked, status = [], 0
    for name in services:
        try:
            client.remove(name)
        except NotFound as error:
            report(error)
            status = exit_status(error)
        else:
            asked.append(name)
            render.show([f"{name}: being deleted"])
    return asked, status
