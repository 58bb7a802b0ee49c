"""A service definition and its configuration, translated into a service file. Pure.

Only virtual machine roles can be: they are images. What the service file cannot say is in the notes, which also stand
at its top as comments. Facts: Microsoft's schema pages "VirtualMachineRole Schema" (2012), "Definition Schema" and
"Configuration Schema" of Cloud Services (classic).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import Problem
from orchestrator.model import Topology
from orchestrator.servicefile.azure import endpoints, roles, traffic
from orchestrator.servicefile.azure.definition import Element, plain, refusals
from orchestrator.servicefile.azure.ledger import Ledger, Note, Part
from orchestrator.servicefile.azure.naming import Names
from orchestrator.servicefile.azure.wishes import Wishes
from orchestrator.servicefile.yaml_text import yaml_text

_FORMAT_ONLY = "it is about the file's format"
_WALK = "UpgradeDomainWalk"
_DISCOVERY = {"Blast": "at once", _WALK: "one after the other"}
_PACKAGED = {"WebRole": "a web role", "WorkerRole": "a worker role"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The service file, what it could not say, and the account that proves that nothing else is missing."""

    service: str
    text: str
    notes: tuple[Note, ...]
    translated: frozenset[Part]
    listed: frozenset[Part]


def translate(definition: Element, configuration: Element, wishes: Wishes) -> Imported:
    """The service file of the two. Raises InvalidInput with FILE:LINE of all that keeps it from being made."""
    ledger, faults = Ledger(), list[Problem]()
    names = Names(ledger, faults)
    service = _service(definition, configuration, names, ledger, faults)
    configured = _configured(definition, configuration, faults)
    probes = endpoints.probes(definition, ledger, faults)
    ends = endpoints.Endpoints(probes, ledger, faults)
    tree: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for role in definition.all("VirtualMachineRole"):
        name = role.get("name") or ""
        if name in seen or (one := configured.get(name)) is None:
            continue  # said already
        label = seen[name] = names.label(role, 40)
        tree[label] = roles.role(roles.Source(role, one, len(tree) + 1, label), ends, wishes, ledger, faults)
    endpoints.unused(probes, ledger)
    traffic.restrict(definition, ends.inner, seen, ledger, faults)
    _check_wishes(definition, wishes, tree, faults)
    upgrade = _upgrade(definition, tree, ledger)
    _tell_of_peers(definition, tree, ledger)
    _drop_the_rest(configuration, ledger)
    if faults:
        raise refusals(faults)
    ledger.close(definition, configuration)
    top = {"service": service, **({"vip": wishes.vip} if wishes.vip else {}), **upgrade, "roles": tree}
    notes = tuple(ledger.notes)
    header = [
        f"# Made from {plain(definition.file)} and {plain(configuration.file)}.",
        *(f"# {one}" for one in notes),
    ]
    return Imported(
        service=service,
        text="\n".join([*header, yaml_text(top)]),
        notes=notes,
        translated=frozenset(ledger.translated),
        listed=frozenset(ledger.listed),
    )


def _service(definition: Element, configuration: Element, names: Names, ledger: Ledger, faults: list[Problem]) -> str:
    """The name of the service, which both files must say alike."""
    ledger.use(definition, "name")
    ledger.use(configuration, "serviceName")
    theirs, said = configuration.get("serviceName"), definition.get("name")
    if theirs != said:
        message = f"serviceName is {plain(theirs or '')!r}, but {definition.file} is of {plain(said or '')!r}"
        faults.append(_problem(configuration, message, "give the two files of one service"))
    for root in (definition, configuration):
        ledger.drop_attribute(root, "schemaVersion", _FORMAT_ONLY)
        for name, _ in root.attributes:
            if name.startswith("{http://www.w3.org/2001/XMLSchema-instance}"):
                ledger.drop_attribute(root, name, _FORMAT_ONLY)
    return names.label(definition, 40)


def _configured(definition: Element, configuration: Element, faults: list[Problem]) -> dict[str, Element]:
    """The configuration of each role; notes roles that only one of the files has, or that one has twice."""
    defined = [one for one in definition.children if one.name in ("VirtualMachineRole", *_PACKAGED)]
    for one in defined:
        if one.name in _PACKAGED:
            message = f"{one.name} {plain(one.get('name') or '')!r} is {_PACKAGED[one.name]}"
            why = f"{message}: it runs an application package (.cspkg) on Azure's own Windows, so it has no image"
            faults.append(
                _problem(one, why, "make an image that holds the application; describe a VirtualMachineRole")
            )
    if not defined:
        faults.append(_problem(definition, "there is no VirtualMachineRole", "only such roles can be imported"))
    here = _by_name(defined, faults)
    there = _by_name(configuration.all("Role"), faults)
    for name, one in there.items():
        if name not in here:
            message = f"Role {plain(name)!r} is not in {definition.file}"
            hint = f"it has: {', '.join(map(plain, here)) or 'none'}"
            meant = next((other for other in here if other.casefold() == name.casefold()), None)
            faults.append(_problem(one, message, f"write {plain(meant)}" if meant else hint))
    spelt = {name.casefold() for name in there}  # One that is spelt otherwise there is told once.
    for name, one in here.items():
        if name not in there and (
            name.casefold() not in spelt or sum(n.casefold() == name.casefold() for n in here) > 1
        ):
            message = f"{one.name} {plain(name)!r} is not in {configuration.file}"
            faults.append(_problem(one, message, f'add <Role name="{plain(name)}"> there, or remove it here'))
    return there


def _by_name(elements: list[Element], faults: list[Problem]) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for one in elements:
        name = one.get("name") or ""
        if not name:
            faults.append(_problem(one, f"{one.name} has no name", 'add name="…"'))
            continue
        if name in found:
            faults.append(_problem(one, f"role {plain(name)!r} is there twice", "remove or rename one"))
        found.setdefault(name, one)
    return found


def _check_wishes(definition: Element, wishes: Wishes, tree: Mapping[str, Any], faults: list[Problem]) -> None:
    known = {one.get("name") for one in definition.all("VirtualMachineRole")}
    for name in wishes.role_images:
        if name not in known:
            message = f"{definition.place}: there is no VirtualMachineRole {plain(name)!r} to give an image to"
            faults.append(Problem(message, hint="write the name as it stands in the file"))
    ends = [end for role in tree.values() for end in role.get("endpoints", {}).values()]
    if not wishes.vip and any(end.get("type") != "internal" for end in ends):
        message = f"{definition.place}: the service has input endpoints, and neither file says its address"
        faults.append(Problem(message, hint="say it: --vip ADDRESS"))


def _upgrade(definition: Element, tree: Mapping[str, Any], ledger: Ledger) -> Mapping[str, Any]:
    """Its upgrade domains, each taken out as a whole, as there."""
    domains = definition.get("upgradeDomainCount") or ""
    if domains.isascii() and domains.isdigit() and 0 < int(domains[:4]) <= 20:
        ledger.use(definition, "upgradeDomainCount")
        largest = max((-(-role["instances"] // int(domains)) for role in tree.values()), default=1)
        return {"upgrade": {"domains": int(domains), "maxUnavailable": max(largest, 1)}}
    ledger.drop_attribute(definition, "upgradeDomainCount", "it is not 1 to 20; vmrole takes instances one by one")
    return {}


def _tell_of_peers(definition: Element, tree: Mapping[str, Any], ledger: Ledger) -> None:
    """Whether guests learn of a change all at once or one after the other."""
    attribute = "topologyChangeDiscovery"
    said = definition.get(attribute)
    if said not in _DISCOVERY:
        ledger.drop_attribute(definition, attribute, f"it is not {' or '.join(_DISCOVERY)}; guests learn at once")
        return
    ledger.use(definition, attribute)
    why = f"guests that ask by the runtime channel (vmrole-guest peers) learn of changes {_DISCOVERY[said]}"
    ledger.change(definition, attribute, why)
    for role in tree.values():
        role["topology"] = (Topology.WALK if said == _WALK else Topology.BLAST).value


def _drop_the_rest(configuration: Element, ledger: Ledger) -> None:
    """Lists what belongs to the service's configuration and has no counterpart."""
    for network in configuration.all("NetworkConfiguration"):
        ledger.use(network)
        for one in network.all("AccessControls"):
            ledger.drop(one, "every client reaches the endpoints; name those that may in each endpoint's allow")
        for one in network.children:
            if one.name != "AccessControls":
                ledger.drop(one, "each service has a network of its own, made by vmrole; --vip says its address")
    for attribute in ("osFamily", "osVersion"):
        ledger.drop_attribute(configuration, attribute, "the image says which Windows it holds")


def _problem(element: Element, message: str, hint: str) -> Problem:
    return Problem(f"{element.place}: {message}", hint=hint)
