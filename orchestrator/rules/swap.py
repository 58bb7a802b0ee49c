"""Whether the deployments of a service may exchange their slots, and how they come out of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.model import Carrier, Instance, Mode, Service, ServiceSpec, Slot

_OTHER = {Slot.PRODUCTION: Slot.STAGING, Slot.STAGING: Slot.PRODUCTION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment, with its instances, and whether something rolls through them."""

    service: Service
    instances: Collection[Instance]
    rolls: bool


def exchanged(there: Iterable[Service]) -> list[Service]:
    """Each in the other slot."""
    return [replace(one, slot=_OTHER[one.slot]) for one in there]


def check(name: str, there: Sequence[Deployed], *, force: bool) -> None:
    """Raises Conflict when the deployments that service `name` has cannot be swapped, or not without `force`.

    What goes is never swapped. The rest is what clients would notice: nobody in staging, an endpoint that is not
    there, or that has no member who serves, a change that is under way.
    """
    for one in there:
        if one.service.removing:
            address = one.service.address
            hint = f"run: vmrole wait {address} --for=gone; what is left may be swapped then"
            raise Conflict(f"{address} is being deleted", hint=hint)
    slots = {one.service.slot: one for one in there}
    faults = _faults(name, slots.get(Slot.PRODUCTION), slots.get(Slot.STAGING))
    if not force and (why_not := next(faults, None)) is not None:
        raise why_not


def _faults(name: str, production: Deployed | None, staging: Deployed | None) -> Iterator[Conflict]:
    all_the_same = f"all the same: vmrole swap {name} --force"
    if staging is None:
        yield Conflict(
            f"service {name} has nothing in staging: a swap would leave nobody in production",
            hint=f"deploy it: vmrole apply -f FILE --slot staging; {all_the_same}",
        )
        return
    there, then = _ports(production.service.spec) if production is not None else {}, _ports(staging.service.spec)
    if lost := there.keys() - then.keys():
        yield Conflict(
            f"{staging.service.address} has no endpoint at {_named(lost)}, where clients of production are",
            hint=f"add it to the file, and: vmrole apply -f FILE --slot staging; {all_the_same}",
        )
    if moved := {port for port, carrier in there.items() if then.get(port, carrier) is not carrier}:
        yield Conflict(
            f"another balancer carries {_named(moved)} of {staging.service.address}: what is open would be cut",
            hint=f"say the same balancer in its file, and: vmrole apply -f FILE --slot staging; {all_the_same}",
        )
    for role in staging.service.spec.roles:
        own = [one for one in staging.instances if one.role_name == role.name]
        asked = role.endpoints or role.internal_endpoints  # by clients, or by those whom clients ask
        if asked and not any(one.available for one in own):
            yield Conflict(
                f"no instance of role {role.name} of {staging.service.address} serves",
                hint=f"run: vmrole wait {staging.service.address}; {all_the_same}",
            )
    for one in (production, staging):
        if one is not None and one.rolls:
            yield Conflict(
                f"a rollout of {one.service.address} is under way",
                hint=f"run: vmrole rollout status {one.service.address}, and swap when it is over; {all_the_same}",
            )


def _ports(spec: ServiceSpec) -> dict[tuple[int, str], Carrier]:
    """Where clients reach it, by number and protocol, as the kernel tells them apart; and who carries that."""
    pooled = [(end.mode, port, end.carrier) for role in spec.roles for end in role.endpoints for port in end.ports]
    faces = [(end.mode, port, Carrier.NFTABLES) for role in spec.roles for end in role.faces for port in end.ports]
    return {(port, "udp" if mode is Mode.UDP else "tcp"): carrier for mode, port, carrier in (*faces, *pooled)}


def _named(ports: Collection[tuple[int, str]]) -> str:
    """Those that follow one another as one."""
    runs: list[tuple[int, int, str]] = []
    for protocol, port in sorted((protocol, port) for port, protocol in ports):
        first, last, of = runs[-1] if runs else (0, 0, "")
        if of == protocol and port == last + 1:
            runs[-1] = first, port, protocol
        else:
            runs.append((port, port, protocol))
    return ", ".join(f"{first}/{of}" if first == last else f"{first}-{last}/{of}" for first, last, of in sorted(runs))


def check_alike(spec: ServiceSpec, other: Service) -> None:
    """Raises InvalidInput when the file of a deployment says other VIPs than that of the one beside it.

    They are the service's: a swap exchanges them, and after it each file must still say what is so.
    """
    for key, own, theirs in (
        ("vip", spec.vip, other.spec.vip),
        ("stagingVip", spec.staging_vip, other.spec.staging_vip),
        ("sharedVip", "true" if spec.shared_vip else "", "true" if other.spec.shared_vip else ""),
    ):
        if own != theirs:
            told = f"{own or 'none'}, but {theirs or 'none'} in the file of {other.address}, which stands beside it"
            hint = f"both have the same, for a swap exchanges them; or delete one first: --slot {other.slot}"
            raise InvalidInput(f"{key}: {told}", problems=(Problem(told, key=key, hint=hint),), hint=hint)
