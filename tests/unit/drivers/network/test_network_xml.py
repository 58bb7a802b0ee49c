"""A service's network as XML: what libvirt gets, and what is read back."""

from __future__ import annotations

import pytest
from lxml import etree

from orchestrator.drivers.network import network_xml
from tests.contract.suites.network import make_service

GOLDEN = """\
<network>
  <name>vmrole-shop</name>
  <metadata>
    <vmrole:network xmlns:vmrole="https://vmrole.dev/network/1" service="shop"/>
  </metadata>
  <forward mode="open"/>
  <bridge name="{bridge}" stp="off" delay="0"/>
  <domain name="shop" localOnly="yes"/>
  <dns forwardPlainNames="no">
    <host ip="10.90.0.10">
      <hostname>web-0</hostname>
      <hostname>web-0.shop</hostname>
    </host>
  </dns>
  <ip address="10.90.0.1" prefix="24">
    <dhcp>
      <host mac="{mac}" name="web-0" ip="10.90.0.10"/>
    </dhcp>
  </ip>
  <dnsmasq:options xmlns:dnsmasq="http://libvirt.org/schemas/network/dnsmasq/1.0">
    <dnsmasq:option value="dhcp-ignore-clid"/>
    <dnsmasq:option value="no-hosts"/>
  </dnsmasq:options>
</network>
"""


def test_a_network_says_whose_it_is() -> None:
    """The installation's id lies in the metadata; a network of a former version has none and can be read."""
    service, _ = make_service("shop", "203.0.113.10", 1)
    for whose in ("", "8e1f9e4c-2f64-4e44-9d55-2f1d0a6b7c11"):
        read = network_xml.describe(network_xml.render(service, [], installation=whose))
        assert (read.service, read.installation) == ("shop", whose)


def test_the_network_of_a_service() -> None:
    """Exactly this: reservations without a range, names that stay local, our metadata, no rules of libvirt's."""
    service, instances = make_service("shop", "203.0.113.10", 1)
    xml = network_xml.render(service, [network_xml.reservation(one) for one in instances])
    assert xml == GOLDEN.format(bridge=service.network.bridge, mac=instances[0].nic.mac)


def test_a_network_of_ipv6_says_where_the_host_is_and_names_no_server() -> None:
    """Nothing else is different; and one of IPv4 that runs is of another shape."""
    (service, instances), (before, _) = (make_service("shop", "2001:db8::1", 1, ipv6=six) for six in (True, False))
    reservations = [network_xml.reservation(one) for one in instances]
    xml = network_xml.render(service, reservations)
    assert f'<ip family="ipv6" address="{service.network.gateway6}" prefix="64"/>' in xml
    read, plain = (network_xml.describe(one) for one in (xml, network_xml.render(before, reservations)))
    assert (read.gateway, read.gateway6) == (plain.gateway, f"{service.network.gateway6}/64")
    assert plain.gateway6 == ""
    assert read.options - plain.options == {
        "dhcp-option=option6:dns-server",
        "dhcp-option=option6:domain-search",
    }


def test_what_is_written_is_read_back() -> None:
    """Service, bridge, gateway and every host come back, whatever order they were given in."""
    service, instances = make_service("shop", "203.0.113.10", 5)
    reservations = [network_xml.reservation(one) for one in instances]
    read = network_xml.describe(network_xml.render(service, reservations))
    assert (read.service, read.bridge, read.gateway, read.mode) == (
        "shop",
        service.network.bridge,
        f"{service.network.gateway}/24",
        "open",
    )
    assert read == network_xml.describe(network_xml.render(service, reservations[::-1]))
    assert read.dhcp == {(one.nic.mac, one.nic.address, one.hostname) for one in instances}
    assert read.dns == {(one.nic.address, (one.hostname, one.name)) for one in instances}


def test_a_network_without_our_metadata_is_not_ours() -> None:
    """The name alone proves nothing; the metadata of somebody else's namespace neither."""
    foreign = (
        "<network><name>vmrole-shop</name><metadata><x:network xmlns:x='urn:x' service='shop'/></metadata></network>"
    )
    assert network_xml.describe(foreign).service == ""


@pytest.mark.parametrize(
    "xml", ["", "<network>", "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><network>&b"]
)
def test_what_is_not_xml_is_an_error(xml: str) -> None:
    """Nothing is guessed from broken XML."""
    with pytest.raises(ValueError, match="not a network"):
        network_xml.describe(xml)


def test_a_name_cannot_leave_its_attribute() -> None:
    """Even a text that no label could be stays data."""
    evil = "'/><forward mode='nat'/><x y='"
    element = etree.fromstring(network_xml.dhcp_host_xml("52:54:00:00:00:01", "10.90.0.10", evil))
    assert element.get("name") == evil
    assert len(element) == 0
