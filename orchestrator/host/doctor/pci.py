"""Devices of the host that guests may have to themselves: which of those that its owner gives can be passed on."""

from __future__ import annotations

from orchestrator.drivers.tools.host_pci import HostPci
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, ok, warn
from orchestrator.model import pci
from orchestrator.model.pci import PciLook

NAME = "pci devices"


def devices(settings: Config) -> Check:
    """Each can be passed on, and each name in vmrole.toml means one that is there."""
    return judge(HostPci(settings.pci, (settings.vip_interface,)).look())


def judge(look: PciLook) -> Check:
    """Of a host on which these are given."""
    if not look.given:
        return ok(NAME, "none is given to guests (pci in vmrole.toml)")
    faults = {one.fault: one.hint for one in look.devices if one.fault}
    for name in look.given:
        if not any(pci.matches(name, one.address, one.kind, one.code) for one in look.devices):
            faults[f"there is no PCI device {name}"] = "see: lspci -Dnn; or take it out of pci in vmrole.toml"
    well = [f"{one.address} ({one.kind})" for one in look.devices if not one.fault]
    told = f"guests may have {', '.join(well)}" if well else "guests can have none"
    if faults:
        return warn(NAME, "; ".join([told, *faults]), "; ".join(dict.fromkeys(faults.values())))
    return ok(NAME, told)
