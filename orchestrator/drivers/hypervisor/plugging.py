"""The disks of a VM that runs: one grows, a drive or local storage comes, and goes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import libvirt

from orchestrator.drivers.hypervisor import domain_devices, domain_limits, domains
from orchestrator.drivers.hypervisor.domain_parts import MachineType
from orchestrator.drivers.hypervisor.qmp_watch import Monitors
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection, translated
from orchestrator.errors import Busy, Permanent, WorldError
from orchestrator.model import Attachment, Instance, InstanceName

log = logging.getLogger(__name__)
_LATER: Final = "it has it when its VM starts next: vmrole stop, then vmrole start"
_WORDS: Final = 200
_LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE  # Who starts next is defined anew, by what is recorded then.


def refusal(told: str, error: libvirt.libvirtError) -> WorldError:
    """What a libvirtd that answers has said where a disk is given: Busy while somebody else is at the VM; else
    Permanent, as the VM does not take it.
    """
    known = translated(told, error)
    return known if isinstance(known, Busy) else Permanent(f"{told}: {harmless(str(error), _WORDS)}", hint=_LATER)


class Plugging:
    """A part of the Hypervisor port."""

    def __init__(
        self, connection: LibvirtConnection, monitors: Monitors, layout: Layout, machine: MachineType
    ) -> None:
        self._connection = connection
        self._monitors = monitors
        self._layout = layout
        self._machine = machine

    def enlarge(self, name: InstanceName, drive: str, size_mib: int) -> None:
        """See ports.Hypervisor."""
        disk = str(self._layout.drive(drive))
        with self._running(name, f"enlarge drive {drive}") as found:
            if found is not None and domain_devices.disk_of(found.XMLDesc(0), disk):
                found.blockResize(disk, size_mib * 1024 * 1024, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def plug(self, instance: Instance, attached: Attachment) -> None:
        """See ports.Hypervisor."""
        what = f"drive {attached.drive}"
        with self._running(instance.name, f"give it {what}") as found:
            if found is not None:
                self._give(found, instance, self._layout.drive(attached.drive), attached.serial, what)

    def plug_disks(self, instance: Instance) -> None:
        """See ports.Hypervisor. In their order, so that each has the target that it is started with."""
        with self._running(instance.name, "give it its disks") as found:
            for serial, path in zip(instance.disk_serials, self._paths(instance), strict=True):
                if found is not None:
                    self._give(found, instance, path, serial, f"its disk {serial}")

    def _paths(self, instance: Instance) -> tuple[Path, ...]:
        """Of its disks beside that of the system."""
        return (*self._layout.disks(instance).values(), *self._layout.bare_disks(instance).values())

    def _give(self, found: libvirt.virDomain, instance: Instance, path: Path, serial: str, what: str) -> None:
        """Once. Raises Permanent where the VM does not take it, and what is of the moment as such."""
        xml = found.XMLDesc(0)
        if domain_devices.disk_of(xml, str(path)):
            return
        disk = domain_devices.plugged_disk(xml, instance, path, serial, domain_limits.of(instance, self._machine))
        if not disk:
            raise Permanent(f"the disks of {instance.name} cannot be changed while it runs", hint=_LATER)
        try:
            found.attachDeviceFlags(disk, _LIVE)
        except libvirt.libvirtError as error:
            if not found.connect().isAlive():
                raise
            raise refusal(f"the VM of {instance.name} does not take {what}", error) from error

    def unplug(self, name: InstanceName, drive: str) -> bool:
        """See ports.Hypervisor."""
        path = self._layout.drive(drive)
        with self._running(name, f"take drive {drive} from it") as found:
            had = found is not None and self._take(found, path)
            return found is None or not had or not domain_devices.disk_of(found.XMLDesc(0), str(path))

    def unplug_disks(self, instance: Instance) -> bool:
        """See ports.Hypervisor."""
        with self._running(instance.name, "take its disks from it") as found:
            if found is None:
                return True
            return sum(self._take(found, path) for path in self._paths(instance)) == 0

    def _take(self, found: libvirt.virDomain, path: Path) -> bool:
        """Whether it had it; it is asked to let go of it then."""
        disk = domain_devices.disk_of(found.XMLDesc(0), str(path))
        if disk:
            try:
                found.detachDeviceFlags(disk, _LIVE)
            except libvirt.libvirtError as error:  # It is asked already, or the disk has gone meanwhile.
                log.info("%s and %s: %s", found.name(), path, harmless(str(error), _WORDS))
        return bool(disk)

    @contextlib.contextmanager
    def _running(self, name: InstanceName, what: str) -> Iterator[libvirt.virDomain | None]:
        """The domain, whose monitor is about to be asked; None when it does not run."""
        with self._connection.use(f"{name}: {what}") as connection:
            found = domains.find(connection, name)
            if found is None or not self._is_running(found):
                yield None
                return
            domains.ownership(found, self._machine.installation)
            self._monitors.expect_answer(name, domains.run_of(found))
            yield found

    def _is_running(self, found: libvirt.virDomain) -> bool:
        """Whether there is a process. One that libvirt does not miss yet does not count."""
        run = domains.run_of(found)
        return run is not None and not self._monitors.ended(InstanceName(found.name()), run)
