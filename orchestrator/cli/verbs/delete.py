"""`vmrole delete`: services, with all that they have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from orchestrator.cli import gathering, names, render
from orchestrator.cli.applying import files_option
from orchestrator.cli.gathering import Fault, refuse
from orchestrator.cli.options import examples, selector_option, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.refusals import exit_status, report
from orchestrator.cli.waiting import end_of, until_gone
from orchestrator.client import states
from orchestrator.client.client import SLOTS, Client
from orchestrator.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from orchestrator.client import wire

_NAMELESS = InvalidInput("names no service", hint="write: service: NAME")


@click.command(
    epilog=examples(
        "vmrole delete service shop --wait", "vmrole delete service shop --slot staging", "vmrole delete -f services/"
    )
)
@click.argument("kind", metavar="[service]", required=False)
@click.argument("name", shell_complete=names.service, required=False)
@files_option
@selector_option("services")
@click.option("--slot", type=click.Choice(SLOTS), help="What is in that slot alone; of a service both unless given.")
@click.option(
    "--forget-unreadable",
    "forgets",
    is_flag=True,
    help="Forget instances whose records cannot be read, and shut their VMs down; their disks stay.",
)
@wait_options
@click.pass_obj
def delete(
    client: Client,
    kind: str | None,
    name: str | None,
    files: tuple[str, ...],
    selector: str | None,
    slot: str | None,
    forgets: bool,
    waits: bool,
    timeout: float | None,
) -> int:
    """Removes services with all their instances, local storage included: one by its name, or those of files.

    There is no question: what is deleted is named in the command. Of files only the names of services are read. -l
    goes by the labels of services, not by those of roles. What is in staging goes as well, unless a slot is named.
    """
    until = end_of(timeout)
    ways = [name is not None, bool(files), selector is not None]
    if ways.count(True) != 1 or (kind == "service") is bool(files) or kind not in (None, "service"):
        raise click.UsageError(f"write: delete service {name or _named(kind)}, or: service -l LABELS, or: -f FILE")
    at = f"@{slot}" if slot else ""
    if selector is not None and slot:
        raise click.UsageError("-l selects among what is in either slot: leave --slot out")
    if selector is not None:
        services, missing = _removed_by_labels(client, selector, forgets), 0
    elif name is not None:
        services, missing = _asked_to_go(client, name + at, forgets), 0
    else:
        given, faults = gathering.given(files)
        faults += [Fault(of=one, error=_NAMELESS) for one in given if not one.service]
        if faults:
            return refuse(faults, len(given) + sum(isinstance(fault.of, str) for fault in faults))
        services, missing = _removed(client, [one.service + at for one in given], forgets)
    for service in services if waits else ():
        until_gone(client, service, until, progress(), removed=True)
        render.show([f"{service}: gone"])
    return missing


def _removed_by_labels(client: Client, selector: str, forgets: bool) -> list[str]:
    """Each as it was when it was selected: one that is applied anew meanwhile may have other labels."""
    found = [one for one in client.services(labels=selector) if not one["removing"]]
    if not found:
        told = f"no service has the labels {selector[:80]!r}"
        raise Conflict(told, hint="run: vmrole get services --show-labels")
    for one in found:
        gone = client.remove(f"{one['service']}@{one['slot']}", expected=one["revision"], forgets=forgets)
        render.show([f"{one['name']}: being deleted"])
        _tell_held_up(gone)
    return [one["name"] for one in found]


def _asked_to_go(client: Client, name: str, forgets: bool) -> list[str]:
    """Asks for the removal of a service, or of what is in a slot of it; what goes by that, by its names."""
    going = [one["name"] for one in client.services() if one["service"] == name] or [name]
    client.remove(name, forgets=forgets)
    render.show([f"{one}: being deleted" for one in going])
    for one in client.services():
        if one["name"] in going:
            _tell_held_up(one)
    return going


def _tell_held_up(service: wire.ServiceView) -> None:
    if service["held_up"]:
        name = service["name"]
        render.say(f"{name} stays for now: {service['held_up']}; {states.held_up_hint(name)}")


def _named(word: str | None) -> str:
    return word if word not in (None, "service") else "NAME"


def _removed(client: Client, services: Iterable[str], forgets: bool) -> tuple[list[str], int]:
    """Asks for the removal of each; those that there are, and the exit status: what is missing stops no other."""
    asked, status = [], 0
    for name in services:
        try:
            asked += _asked_to_go(client, name, forgets)
        except NotFound as error:
            report(error)
            status = exit_status(error)
    return asked, status
