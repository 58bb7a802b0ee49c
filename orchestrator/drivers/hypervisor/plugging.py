"""The disks of a VM that runs: one grows, a drive comes, a drive goes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

import libvirt

from orchestrator.drivers.hypervisor import domain_devices, domain_limits, domains
from orchestrator.drivers.hypervisor.domain_parts import MachineType
from orchestrator.drivers.hypervisor.qmp_watch import Monitors
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.errors import Permanent
from orchestrator.model import Attachment, Instance, InstanceName

log = logging.getLogger(__name__)
_LATER: Final = "it has it when its VM starts next: vmrole stop, then vmrole start"
_WORDS: Final = 200
_LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE  # Who starts next is defined anew, by what is recorded then.


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
        path = self._layout.drive(attached.drive)
        with self._running(instance.name, f"give it drive {attached.drive}") as found:
            xml = "" if found is None else found.XMLDesc(0)
            if found is None or domain_devices.disk_of(xml, str(path)):
                return
            limits = domain_limits.of(instance, self._machine)
            disk = domain_devices.plugged_disk(xml, instance, path, attached.serial, limits)
            if not disk:
                raise Permanent(f"the disks of {instance.name} cannot be changed while it runs", hint=_LATER)
            try:
                found.attachDeviceFlags(disk, _LIVE)
            except libvirt.libvirtError as error:
                told = f"the VM of {instance.name} does not take drive {attached.drive}"
                raise Permanent(f"{told}: {harmless(str(error), _WORDS)}", hint=_LATER) from error

    def unplug(self, name: InstanceName, drive: str) -> bool:
        """See ports.Hypervisor."""
        path = str(self._layout.drive(drive))
        with self._running(name, f"take drive {drive} from it") as found:
            disk = "" if found is None else domain_devices.disk_of(found.XMLDesc(0), path)
            if found is None or not disk:
                return True
            try:
                found.detachDeviceFlags(disk, _LIVE)
            except libvirt.libvirtError as error:  # It is asked already, or the drive has gone meanwhile.
                log.info("%s and drive %s: %s", name, drive, harmless(str(error), _WORDS))
            return not domain_devices.disk_of(found.XMLDesc(0), path)

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
