"""What the instances of a service share, its network, VIP, endpoints: laid for the first, lifted after the last."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Sequence

from orchestrator.control import records, slots
from orchestrator.control.asides import instances_of
from orchestrator.control.leavings import Leavings, still_there
from orchestrator.control.present import Present
from orchestrator.control.shadows import shadows_of
from orchestrator.control.standstill import ending_with
from orchestrator.control.turns import NEVER_S, TRANSIENT_AGAIN_S
from orchestrator.control.walking import AUDIT_S
from orchestrator.errors import EndpointRefused, Transient
from orchestrator.model import Event, Instance, Service
from orchestrator.model.blob import BlobOwner, Of
from orchestrator.ports import COMMIT_PARTS_MAX, Held, Host
from orchestrator.rules.frontends import frontends_of
from orchestrator.rules.role_names import called

log = logging.getLogger(__name__)

_HOLDING = threading.Lock()  # Else an older set of addresses could be laid over a newer one.
_CALLING = threading.Lock()  # The same of who is called by the name of a role.


def hold_vips(present: Present, host: Host) -> Held:
    """Has the host hold the addresses of all services, those of records that nobody can read included, and tells the
    ledger of what somebody had taken off.
    """
    with _HOLDING:
        of = present.vips()
        unread = any(aside.kind == records.kind_of(Service) for aside in present.set_aside())
        held = host.front.vips.hold(of.keys() | host.front.vips.held() if unread else of.keys())
    now_s = host.machine.clock.now_s()
    for vip in sorted(held.put_back):
        told = f"somebody removed {vip} from the host: put back"
        for name in of.get(vip, ()):
            log.warning("%s: somebody removed %s", name, vip)
            present.commit([], [Event(at_s=now_s, subject=name, message=told)])
    return held


def call_roles(present: Present, host: Host, name: str) -> None:
    """Has the names of a service's roles lead to those who are ready now."""
    with _CALLING:
        service = present.find(Service, name)
        if service is not None:
            host.machine.network.call(service, called(service, present.instances_of(name).values()))


def tend(present: Present, host: Host, name: str, leavings: Leavings) -> tuple[frozenset[str], float]:
    """Lays what the instances of a service share, or lifts it when the last one is gone.

    Returns the uids of the instances for which the service's network stands, and when to look again (seconds).
    """
    service = present.find(Service, name)
    if service is None:
        return frozenset(), NEVER_S
    instances = list(present.instances_of(name).values())
    if not service.removing:
        others = [*instances, *shadows_of(present, service, host.machine.network.laid)]
        notices = host.machine.network.lay(service, others, slots.beside(present, name))
        now_s = host.machine.clock.now_s()
        events = [Event(at_s=now_s, subject=one.subject, message=one.message) for one in notices]
        for first in range(0, len(events), COMMIT_PARTS_MAX):
            present.commit([], events[first : first + COMMIT_PARTS_MAX])
        call_roles(present, host, name)
        laid = frozenset(one.uid for one in instances)
        again_s = _audit_blobs(present, host, service, instances)
        held = hold_vips(present, host)  # Its guards stand: nothing but its endpoints is to be had there.
        if service.vip in held.refused:
            raise held.refused[service.vip]
        try:
            host.front.balancer.shape(present.frontends())
        except EndpointRefused as error:  # Whose they are wait to join; nobody else is held up.
            own = {frontend.pool for frontend in frontends_of(service)}
            if own.isdisjoint(error.pools):
                return laid, again_s
            log.warning("%s", error)
            return laid, TRANSIENT_AGAIN_S
        return laid, again_s
    if instances:
        return frozenset(), AUDIT_S
    return frozenset(), _end(present, host, service, leavings)


def _audit_blobs(present: Present, host: Host, service: Service, instances: Sequence[Instance]) -> float:
    """Erases what roles had that have gone, and returns when to look again (seconds). Nobody is kept from the service
    by a disk that does not let it.
    """
    if instances_of(present.set_aside(), service.name):  # Whose roles nobody knows.
        return AUDIT_S
    roles = {*(role.name for role in service.spec.roles), *(one.role_name for one in instances)}
    try:
        _erase_blobs(host, service, roles)
    except Transient as error:
        log.warning("%s: its blobs: %s", service.name, error)
        return TRANSIENT_AGAIN_S
    return AUDIT_S


def _erase_blobs(host: Host, service: Service, roles: Collection[str]) -> None:
    """What other roles had together goes, as they have gone."""
    for role in sorted({*host.machine.blobs.roles_of(service.name)} - {*roles}):
        host.machine.blobs.erase_blobs(BlobOwner(Of.ROLE, f"{role}.{service.name}"))


def _end(present: Present, host: Host, service: Service, leavings: Leavings) -> float:
    """Takes away what the last of its instances has left: nothing while one may be there that cannot be read."""
    name, now_s = service.name, host.machine.clock.now_s()
    if unread := instances_of(present.set_aside(), name):
        if leavings.is_news(name, unread):
            told = f"not deleted yet: {still_there(unread)}"
            log.warning("%s: %s", name, told)
            present.commit([], [Event(at_s=now_s, subject=name, message=told)])
        return AUDIT_S
    if not leavings.ended(host, name):
        return TRANSIENT_AGAIN_S
    hold_vips(present, host)
    with contextlib.suppress(EndpointRefused):  # Of others: this service has none any more.
        host.front.balancer.shape(present.frontends())
    host.machine.network.lift(service)
    _erase_blobs(host, service, frozenset())
    gone = Event(at_s=now_s, subject=name, message="service deleted: nothing of it is left")
    past = [records.drop(one) for one in present.revisions_of(name)[: COMMIT_PARTS_MAX - 3]]
    last = ending_with(present, name)
    present.commit([records.drop(service), *past, *last], [gone])
    return NEVER_S
