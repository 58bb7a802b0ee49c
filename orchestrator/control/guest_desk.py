"""What the daemon answers guests that ask by their runtime channel, and where it puts what they tell."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.control import revisions
from orchestrator.control.guest_blobs import GuestBlobs
from orchestrator.control.guest_peers import GuestPeers
from orchestrator.control.present import Present
from orchestrator.errors import NotFound
from orchestrator.model import Event, Instance, InstanceName, Service, service_of
from orchestrator.ports import BlobFiles, Clock, Store


class GuestDesk:
    """ports.Desk of the records."""

    def __init__(self, present: Present, clock: Clock, blobs: BlobFiles, store: Store) -> None:
        self._present = present
        self._clock = clock
        self.blobs = GuestBlobs(present, blobs)
        self.peers = GuestPeers(present, store, clock)

    def who(self, name: InstanceName) -> Mapping[str, object] | None:
        """See ports.Desk. Nothing in it is of another instance, or a secret."""
        instance = self._present.find(Instance, name)
        if instance is None:
            return None
        service = self._present.find(Service, instance.service)
        return {
            "instance": instance.name,
            "service": service_of(instance.service),
            "deployment": instance.service,
            "role": instance.role_name,
            "index": instance.index,
            "hostname": instance.hostname,
            "address": instance.nic.address,
            "phase": instance.phase.value,
            "generation": instance.generation,
            "boot": instance.boot,
            "domain": service.spec.upgrade.domain(instance.index) if service else None,
            "revision": self._revision(service, instance) if service else 0,
        }

    def _revision(self, service: Service, instance: Instance) -> int:
        known = revisions.known(service, self._present.revisions_of(service.name))
        return revisions.of_instance(instance, known)

    def log(self, name: InstanceName, line: str) -> None:
        """See ports.Desk."""
        instance = self._present.find(Instance, name)
        if instance is None:
            raise NotFound(f"there is no instance {name}")
        event = Event(
            at_s=self._clock.now_s(),
            subject=instance.name,
            message=f"its guest says: {line}",
            phase=instance.phase,
            generation=instance.generation,
            boot=instance.boot,
        )
        self._present.commit([], [event])
