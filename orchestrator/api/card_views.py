"""Cards of instances on bridges of the host's, as the API shows them."""

from __future__ import annotations

import dataclasses

from orchestrator.model import Instance


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CardView:
    """One of them."""

    bridge: str
    mac: str
    address: str  # without the length of the network's; "": it has none, or none yet
    refused: str  # in a sentence, why it may not use the address that it was given last by DHCP; "": it may


def cards_of(instance: Instance) -> tuple[CardView, ...]:
    """None, where its role names no bridge."""
    lan = instance.lan
    if lan is None:
        return ()
    refused = instance.lan_refused if lan.by_dhcp else ""
    return (CardView(bridge=lan.bridge, mac=lan.mac, address=lan.ip, refused=refused),)
