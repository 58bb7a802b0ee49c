"""A libvirt network as it is: found, described, compared, removed."""

from __future__ import annotations

import libvirt

from orchestrator.drivers.network import network_xml
from orchestrator.drivers.network.network_xml import Described


def find(connection: libvirt.virConnect, name: str) -> libvirt.virNetwork | None:
    """The one of that name, if there is one."""
    try:
        return connection.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise


def describe(network: libvirt.virNetwork) -> Described:
    """As it is defined."""
    return network_xml.describe(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))


def same_frame(one: Described, other: Described) -> bool:
    """Whether guests of one could stay in the other."""
    frames = [(one.bridge, one.gateway, one.gateway6, one.mode) for one in (one, other)]
    return frames[0] == frames[1]


def runs_as(network: libvirt.virNetwork, wanted: Described) -> bool:
    """Whether what runs, if anything does, is of that shape. One that is not has cut its guests off already."""
    return not network.isActive() or same_frame(network_xml.describe(network.XMLDesc(0)), wanted)


def remove(network: libvirt.virNetwork) -> None:
    """Stops it, and has it defined no more."""
    persistent = network.isPersistent()  # One that is not is gone when it has stopped.
    if network.isActive():
        network.destroy()
    if persistent:
        network.undefine()


def changes(network: libvirt.virNetwork, now: Described, wanted: Described) -> list[str]:
    """What of its definition is another: in words when somebody did it, "" for what a former version left out."""
    found = [] if network.isPersistent() else [f"undefined network {network.name()}"]
    if not same_frame(now, wanted):
        found.append(f"changed the definition of network {network.name()}")
    return found or ([""] if now.options != wanted.options else [])
