"""Devices of the host in a domain. Pure.

Each has a port of its own, which is named here: what the guest calls them by their place, a card or a GPU, stays
where it is when another device of the VM goes, such as the answer disc. libvirt takes a device from its
driver and gives it to vfio-pci as the VM starts, and back when it ends (managed).
"""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from orchestrator.drivers.hypervisor.domain_parts import add as element
from orchestrator.model.pci import Passed


def add(devices: etree._Element, passed: Sequence[Passed]) -> None:
    """The ports, first among those of the domain, and what is behind each."""
    if passed:
        element(devices, "controller", {"type": "pci", "index": "0", "model": "pcie-root"})
    for number, _ in enumerate(passed, start=1):
        element(devices, "controller", {"type": "pci", "index": str(number), "model": "pcie-root-port"})
    for number, one in enumerate(passed, start=1):
        device = element(devices, "hostdev", {"mode": "subsystem", "type": "pci", "managed": "yes"})
        domain, bus, place = one.address.split(":")
        slot, function = place.split(".")
        where = {"domain": domain, "bus": bus, "slot": slot, "function": function}
        source = element(device, "source")
        element(source, "address", {key: f"0x{value}" for key, value in where.items()})
        behind = {"domain": "0x0000", "bus": f"0x{number:02x}", "slot": "0x00", "function": "0x0"}
        element(device, "address", {"type": "pci", **behind})
