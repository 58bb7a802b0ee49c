"""Which addresses of the host's bridges instances have: each one instance, of all services. Pure.

Whether somebody else in that network has one is for its owner to see to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from orchestrator.errors import Problem
from orchestrator.model import Given, Instance, InstanceName, RoleNetwork, ServiceSpec, instance_name

_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122
_INEXACT_S: Final = 2.0  # when an address was given is known in whole seconds
BridgeFault = Callable[[str, int | None], tuple[str, str]]
"""Why no card of that MTU can be on a bridge of the host's, and the remedy; both "" when it can."""


def no_fault(bridge: str, mtu: int | None) -> tuple[str, str]:  # noqa: ARG001 - it has the shape of a BridgeFault
    """Every bridge is there."""
    return "", ""


def wanted(spec: ServiceSpec) -> Iterator[tuple[str, InstanceName, str]]:
    """Each address that the service wants, for which instance, and the key that says so."""
    for role in spec.roles:
        for index in range(min(role.instances, len(role.network.addresses))):
            name = instance_name(spec.name, role.name, index)
            yield _bare(role.network.addresses[index]), name, f"roles.{role.name}.network.addresses"


def fault(
    spec: ServiceSpec,
    before: ServiceSpec | None,
    others: Sequence[ServiceSpec],
    instances: Iterable[Instance],
    pool: str,
    bridge_fault: BridgeFault,
    own: Callable[[], Collection[str]],
) -> Problem | None:
    """Why the service cannot have the cards or VIPs that it wants beside `others`, and `instances` as they are now.

    `pool`: from which private networks are cut (CIDR). `own`: the host's addresses. What a role has `before` is not
    asked of the host again.
    """
    had = {role.name: role.network for role in before.roles} if before is not None else {}
    for role in spec.roles:
        if (found := _short(role.network, role.instances, role.name)) is not None:
            return found
        if role.network.bridge and role.network != had.get(role.name):
            why, hint = bridge_fault(role.network.bridge, role.network.mtu)
            if why:
                return Problem(why, key=f"roles.{role.name}.network.bridge", hint=hint)
    held = {address: name for other in others for address, name, _ in wanted(other)}
    held |= {one.lan.ip: one.name for one in instances if one.lan is not None and one.lan.ip}
    vips = {vip for one in (spec, *others) for vip in (one.vip, one.staging_vip) if vip}
    return _taken(spec, held, vips, pool) or _vip_of_another(spec, before, held) or _host_s(spec, before, own)


def heard(instance: Instance, given: Iterable[Given]) -> Given | None:
    """What its card was given last, where that is later than what its record knows."""
    lan = instance.lan
    own = [one for one in given if lan is not None and one.tap == lan.tap]
    last = max(own, key=lambda one: (one.at_s, one.address == instance.lan_given), default=None)
    return last if last is not None and _is_later(last, instance) else None


def is_lost(instance: Instance, given: Iterable[Given], instances: Callable[[], Iterable[Instance]]) -> bool:
    """Whether another card of ours on the same bridge has been given its address since. `instances`: all that are."""
    lan = instance.lan
    others = (one for one in given if lan is not None and one.tap != lan.tap and one.address == instance.lan_given)
    later = {one.tap for one in others if _is_later(one, instance)}
    if not later or lan is None:
        return False
    cards = (one.lan for one in instances() if one.lan is not None)
    return any(card.tap in later and card.bridge == lan.bridge for card in cards)


def given_fault(instance: Instance, given: Given, specs: Iterable[ServiceSpec], instances: Iterable[Instance]) -> str:
    """Why the instance may not have what it was given beside what all have and are to have; "" when it may.

    Of two that were given one address, it is whose server said so last. An address that stands in a file is its own.
    """
    address = ipaddress.IPv4Address(given.address)
    if address in _THIS_NETWORK or any(
        (address.is_loopback, address.is_link_local, address.is_multicast, address.is_reserved)
    ):
        return "it is no address of one machine"
    for spec in specs:
        if given.address in (spec.vip, spec.staging_vip):
            return "it is a VIP"
        for wants, name, _ in wanted(spec):
            if wants == given.address and name != instance.name:
                return f"it is that of {name}"
    for other in instances:
        held = other.lan is not None and other.lan.ip == given.address and other.name != instance.name
        if held and not (other.lan is not None and other.lan.by_dhcp and not _is_later_held(other, given)):
            return f"{other.name} has it"
    return ""


def _is_later(given: Given, instance: Instance) -> bool:
    return given.at_s > instance.lan_given_at_s + _INEXACT_S


def _is_later_held(other: Instance, given: Given) -> bool:
    """Whether the other was given its address after that."""
    return other.lan_given_at_s > given.at_s + _INEXACT_S


def _taken(spec: ServiceSpec, held: dict[str, InstanceName], vips: set[str], pool: str) -> Problem | None:
    own: dict[str, InstanceName] = {}
    for address, name, key in wanted(spec):
        other = own.get(address) or held.get(address, name)
        if other != name:
            hint = "each address has one instance at a time: choose another, or wait until that one has another"
            return Problem(f"{name} cannot have {address}: {other} has it", key=key, hint=hint)
        if address in vips:
            return Problem(f"{address} is a VIP", key=key, hint="an instance has an address of its own")
        if ipaddress.ip_address(address) in ipaddress.ip_network(pool):
            hint = "choose an address of the network that the bridge is in"
            return Problem(f"{address} lies in {pool}, from which private networks are cut", key=key, hint=hint)
        own[address] = name
    return None


def _vip_of_another(spec: ServiceSpec, before: ServiceSpec | None, held: dict[str, InstanceName]) -> Problem | None:
    """A VIP that the service has already it keeps."""
    had = {before.vip, before.staging_vip} if before is not None else set()
    for key, vip in (("vip", spec.vip), ("stagingVip", spec.staging_vip)):
        if vip in held and vip not in had:
            hint = "choose another, or wait until that one has another"
            return Problem(f"{vip} cannot be a VIP: {held[vip]} has it", key=key, hint=hint)
    return None


def _host_s(spec: ServiceSpec, before: ServiceSpec | None, own: Callable[[], Collection[str]]) -> Problem | None:
    had = {address for address, _, _ in wanted(before)} if before is not None else set()
    new = [(address, key) for address, _, key in wanted(spec) if address not in had]
    there = own() if new else ()
    for address, key in new:
        if address in there:
            hint = "choose a free one of the same network: who asks for the host there would ask the guest"
            return Problem(f"{address} is this host's own address", key=key, hint=hint)
    return None


def _short(network: RoleNetwork, instances: int, role: str) -> Problem | None:
    number = len(network.addresses)
    if not network.addresses or number >= instances:
        return None
    told = f"{instances} instances need an address each on {network.bridge}, and there are {number}"
    return Problem(told, key=f"roles.{role}.network.addresses", hint="add some to the file, and apply that")


def _bare(address: str) -> str:
    return address.partition("/")[0]
