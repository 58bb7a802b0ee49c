"""NetworkTrafficRules: which roles reach which internal endpoints. Pure.

Source: "Definition NetworkTrafficRules Schema" of Cloud Services. An endpoint that no rule names is reached by all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import Problem
from orchestrator.servicefile.azure.definition import Element, plain
from orchestrator.servicefile.azure.ledger import Ledger

Inner = Mapping[tuple[str, str], dict[str, Any]]
"""What the service file says of each internal endpoint, by role and endpoint as the definition names them."""


def restrict(
    definition: Element, inner: Inner, labels: Mapping[str, str], ledger: Ledger, faults: list[Problem]
) -> None:
    """Writes who reaches them into `inner`. `labels`: of the roles, by the name that the definition gives them."""
    callers: dict[tuple[str, str], dict[str, None]] = {}
    for group in definition.all("NetworkTrafficRules"):
        ledger.use(group)
    for rule in definition.all("NetworkTrafficRules", "OnlyAllowTrafficTo"):
        ledger.use(rule)
        allowed = _callers(rule, labels, ledger, faults)
        for end in _destinations(rule, inner, ledger, faults):
            callers.setdefault(end, {}).update(dict.fromkeys(allowed))
    for end, named in callers.items():
        if set(labels.values()) - set(named):  # All of them is what it means when nobody is named.
            inner[end]["from"] = list(named)


def _destinations(rule: Element, inner: Inner, ledger: Ledger, faults: list[Problem]) -> list[tuple[str, str]]:
    found = []
    for group in rule.all("Destinations"):
        ledger.use(group)
    for one in rule.all("Destinations", "RoleEndpoint"):
        ledger.use(one, "endpointName", "roleName")
        end = one.get("roleName") or "", one.get("endpointName") or ""
        if end in inner:
            found.append(end)
            continue
        message = f"{one.place}: there is no InternalEndpoint {plain(end[1])!r} of a role {plain(end[0])!r}"
        known = ", ".join(f"{plain(name)} of {plain(role)}" for role, name in inner)
        faults.append(Problem(message, hint=f"there are: {known or 'none'}"))
    return found


def _callers(rule: Element, labels: Mapping[str, str], ledger: Ledger, faults: list[Problem]) -> list[str]:
    found = []
    for all_of_them in rule.all("AllowAllTraffic"):
        ledger.use(all_of_them)
        found += list(labels.values())
    for group in rule.all("WhenSource"):
        ledger.use(group, "matches")
        if group.get("matches") not in (None, "AnyRule"):
            message = f"{group.place}: WhenSource matches {plain(group.get('matches') or '')!r} is not known"
            faults.append(Problem(message, hint='matches="AnyRule" is all that there is'))
    for one in rule.all("WhenSource", "FromRole"):
        ledger.use(one, "roleName")
        name = one.get("roleName") or ""
        if name in labels:
            found.append(labels[name])
            continue
        message = f"{one.place}: there is no VirtualMachineRole {plain(name)!r}"
        faults.append(Problem(message, hint=f"there are: {', '.join(map(plain, labels)) or 'none'}"))
    if not found and not rule.all("WhenSource", "FromRole"):
        message = f"{rule.place}: OnlyAllowTrafficTo names nobody whom it allows"
        faults.append(Problem(message, hint='add <FromRole roleName="…"/> in a WhenSource, or AllowAllTraffic'))
    return found
