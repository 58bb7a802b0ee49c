"""Which cards a network was laid for, as its definition and its guards tell."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.drivers.network import laid_cards, network_xml
from orchestrator.model import SECOND
from tests.contract.suites.network import make_service


@pytest.mark.parametrize("name", ["shop", f"shop{SECOND}"])
@pytest.mark.parametrize("ipv6", [False, True])
def test_a_card_is_told_whole(name: str, ipv6: bool) -> None:
    """By the instance's own name, whichever deployment it is of; who has no guard, or no reservation, has no card."""
    service, instances = make_service(name, "", 3, ipv6=ipv6)
    xml = network_xml.render(service, [network_xml.reservation(one) for one in instances])
    there = network_xml.describe(xml)
    taps = {one.nic.mac: one.nic.tap for one in instances}
    assert laid_cards.cards(service, there, taps) == {one.name: one.nic for one in instances}
    del taps[instances[0].nic.mac]
    unreserved = dataclasses.replace(
        there, dhcp=frozenset(one for one in there.dhcp if one[0] != instances[1].nic.mac)
    )
    assert laid_cards.cards(service, unreserved, taps) == {instances[2].name: instances[2].nic}


def test_a_card_of_a_vm_is_told_by_the_vm() -> None:
    """In its service's network alone, and at a tap that is ours."""
    service, (web,) = make_service("shop", "", 1)
    tap = "vrt-0123456789"
    xml = (
        "<domain><devices><interface type='network'>"
        f"<mac address='{web.nic.mac}'/><source network='{service.network.name}' bridge='b'/><target dev='{tap}'/>"
        "</interface></devices></domain>"
    )
    assert list(laid_cards.cards_of(xml, service.network.name)) == [(web.nic.mac, tap)]
    assert list(laid_cards.cards_of(xml, "vmrole-blog")) == []
    assert list(laid_cards.cards_of(xml.replace("vrt-", "vnet"), service.network.name)) == []
    for part in ("mac", "source", "target"):
        assert list(laid_cards.cards_of(xml.replace(f"<{part} ", "<x "), service.network.name)) == []
