"""Takes the answer disc from a domain: out of its drive, or away as a whole where it is a disk."""

from __future__ import annotations

import logging

import libvirt

from orchestrator.drivers.hypervisor import domain_devices
from orchestrator.errors import Busy

log = logging.getLogger(__name__)


def eject(found: libvirt.virDomain, where: int, xml: str) -> None:
    """From the domain that runs or from the one of its next start, as `where` says; `xml` describes that one.

    Raises Busy when a drive does not give the disc away. A disk goes when the guest lets go of it, or restarts: it is
    asked once, for whoever erases the disc leaves nothing in it.
    """
    if drive := domain_devices.empty_drive(xml):
        found.updateDeviceFlags(drive, where | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE)
        live = where == libvirt.VIR_DOMAIN_AFFECT_LIVE
        after = found.XMLDesc(0 if live else libvirt.VIR_DOMAIN_XML_INACTIVE)
        if not domain_devices.answer_disk_of(after) and (disc := domain_devices.disc_of(after)):
            raise Busy(f"{found.name()}: {disc} is still in the drive{'' if live else ' at its next start'}")
    if domain_devices.answer_disk_of(xml):
        try:
            found.detachDeviceAlias(domain_devices.ANSWER_ALIAS, where)
        except libvirt.libvirtError as error:
            if where != libvirt.VIR_DOMAIN_AFFECT_LIVE:
                raise
            log.info("%s keeps its answer disc, emptied, until it restarts: %s", found.name(), error)
