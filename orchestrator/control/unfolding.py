"""From a service to its instances: the wishes that its file makes, written in batches that may be cut anywhere.

An apply commits the service alone, however many instances it has. Who comes here next, the request itself or the
service's turn after a crash, writes what is missing; done twice it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.control import deployment, records, unread
from orchestrator.control.asides import SetAside
from orchestrator.control.present import Present
from orchestrator.control.shadows import Laid, shadows_of
from orchestrator.model import Instance, InstanceName, Service
from orchestrator.model.pci import PciLook
from orchestrator.rules import passthrough
from orchestrator.rules.addressing import TakenNics

BATCH = 50  # wishes in one commit


def unfold(
    present: Present, name: str, now_s: float, laid: Laid, look: Callable[[], PciLook] = PciLook
) -> list[InstanceName]:
    """Writes every wish that is not as the service says; returns whose it has written.

    `laid`: the cards that the host has for a service, of which those are taken whose records cannot be read. `look`:
    which of its devices its owner gives; it is asked where a role wants some.

    Raises StaleRevision when somebody wrote meanwhile, and Conflict when no address is left: what was written stays.
    """
    with present.unfolding:  # Addresses are given out over all services.
        service = present.find(Service, name)
        if service is None:
            return []
        asides = present.set_aside()
        apart = {aside.key for aside in asides}
        wanted = deployment.unfolded(service, present.instances_of(name), now_s)
        changed = [instance for instance in wanted if instance.name not in apart]
        if any(not instance.nic.address for instance in changed):
            taken = TakenNics(instance.nic for instance in present.all(Instance))
            for shadow in shadows_of(present, service, laid):
                taken.add(shadow.nic)
            for aside in asides:
                taken.claim(unread.words(aside))
            changed = deployment.addressed(changed, service, taken)
        changed = _with_devices(present, service, changed, asides, look)
        for first in range(0, len(changed), BATCH):
            batch = changed[first : first + BATCH]
            present.commit([records.put_wish(instance) for instance in batch], checks=[records.stands(service)])
        return [instance.name for instance in changed]


def _with_devices(
    present: Present,
    service: Service,
    changed: Sequence[Instance],
    asides: Sequence[SetAside],
    look: Callable[[], PciLook],
) -> list[Instance]:
    """The changed, and whoever else of the service has other devices of the host than he had."""
    apart = {aside.key for aside in asides}
    latest = {name: one for name, one in present.instances_of(service.name).items() if name not in apart}
    latest |= {one.name: one for one in changed}
    if not any(one.goal.passed or one.goal.role.devices.pci for one in latest.values()):
        return list(changed)
    others = [one for one in present.all(Instance) if one.name not in latest]
    words = {aside.key: unread.words(aside) for aside in asides}
    taken = passthrough.taken([*others, *latest.values()], words)
    new = {one.name: one for one in passthrough.handed_out(latest.values(), taken, look())}
    there = {one.name for one in changed}
    return [new.get(one.name, one) for one in latest.values() if one.name in new or one.name in there]
