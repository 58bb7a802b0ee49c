"""`vmrole delete`: services, with all that they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import click

from orchestrator.cli import gathering, names, render
from orchestrator.cli.applying import files_option
from orchestrator.cli.gathering import Fault, refuse
from orchestrator.cli.options import examples, selector_option, wait_options
from orchestrator.cli.progress import progress
from orchestrator.cli.refusals import exit_status, report
from orchestrator.cli.waiting import end_of, until_removed
from orchestrator.client.client import SLOTS, Client
from orchestrator.errors import Conflict, InvalidInput, NotFound

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
@wait_options
@click.pass_obj
def delete(
    client: Client,
    kind: str | None,
    name: str | None,
    files: tuple[str, ...],
    selector: str | None,
    slot: str | None,
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
        targets = _selected(client, selector)
    elif name is not None:
        targets = [_target(client, name + at)]
    else:
        given, faults = gathering.given(files)
        faults += [Fault(of=one, error=_NAMELESS) for one in given if not one.service]
        if faults:
            return refuse(faults, len(given) + sum(isinstance(fault.of, str) for fault in faults))
        targets = [_target(client, one.service + at) for one in given]
    removal = _Removal(client, targets, is_of_several=bool(files))
    if not waits:
        removal.ask()
        return removal.status
    services = {service for target in targets for service in target.services}
    for service in until_removed(client, services, until, progress(), removal.ask):
        render.show([f"{removal.shown[service]}: gone"])
    return removal.status


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What is asked for by a name, and the deployments that go by it, each with what it is called to the user."""

    name: str
    services: Mapping[str, str]
    expected: int | None = None  # the revision at which it was selected


def _target(client: Client, name: str) -> _Target:
    """A service, or what is in a slot of it."""
    there = client.services()
    of_both = {one["name"]: one["name"] for one in there if one["service"] == name}
    of_slot = {one["name"]: name for one in there if f"{one['service']}@{one['slot']}" == name}
    return _Target(name=name, services=of_both or of_slot or {name: name})


def _selected(client: Client, selector: str) -> list[_Target]:
    """Each as it was when it was selected: one that is applied anew meanwhile may have other labels."""
    present = [one for one in client.services(labels=selector) if not one["removing"]]
    if not present:
        told = f"no service has the labels {selector[:80]!r}"
        raise Conflict(told, hint="run: vmrole get services --show-labels")
    return [
        _Target(name=f"{one['service']}@{one['slot']}", services={one["name"]: one["name"]}, expected=one["revision"])
        for one in present
    ]


class _Removal:
    """Asks for the removal of all that was named. Of several, what is missing stops no other."""

    def __init__(self, client: Client, targets: Sequence[_Target], *, is_of_several: bool) -> None:
        self.shown = {service: shown for target in targets for service, shown in target.services.items()}
        self.status = 0
        self._client = client
        self._targets = targets
        self._is_of_several = is_of_several

    def ask(self) -> dict[str, int]:
        """The services that go, each with the revision by which that was asked for. Raises NotFound for the one."""
        asked: dict[str, int] = {}
        for target in self._targets:
            try:
                revision = self._client.remove(target.name, expected=target.expected)["revision"]
            except NotFound as error:
                if not self._is_of_several:
                    raise
                report(error)
                self.status = exit_status(error)
                continue
            asked |= dict.fromkeys(target.services, revision)
            render.show([f"{shown}: being deleted" for shown in target.services.values()])
        return asked


def _named(word: str | None) -> str:
    return word if word not in (None, "service") else "NAME"
