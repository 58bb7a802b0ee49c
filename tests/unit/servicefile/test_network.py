"""`network:` of a role: what the file says, what it must not say, and the way back."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import AnswerFormat, RoleNetwork
from orchestrator.servicefile.difference import difference
from orchestrator.servicefile.write import written
from tests.world.images import MICRO
from tests.world.service_files import find

SAID = "{bridge: br0, addresses: [192.0.2.10/24, 192.0.2.11/24], gateway: 192.0.2.1}"
FILE = f"""service: shop
vip: 203.0.113.10
roles:
  web:
    image: micro
    instances: 2
    endpoints:
      http: {{port: 80, balancer: haproxy}}
    network: {SAID}
"""


def test_it_is_read_and_written() -> None:
    """With everything that there is; the file that is written says the same."""
    more = (
        ", dns: [192.0.2.53, 198.51.100.53], search: [Corp.Example], proxy: 'http://proxy.example:3128/', mtu: 9000}"
    )
    spec = servicefile.parse(FILE.replace(SAID, SAID[:-1] + more), find)
    assert spec.roles[0].network == RoleNetwork(
        bridge="br0",
        addresses=("192.0.2.10/24", "192.0.2.11/24"),
        gateway="192.0.2.1",
        dns=("192.0.2.53", "198.51.100.53"),
        search=("corp.example",),
        proxy="http://proxy.example:3128",
        mtu=9000,
    )
    assert servicefile.parse(written(spec, find), find) == spec


def test_names_and_packets_need_no_bridge() -> None:
    """They are the private network's then."""
    role = servicefile.parse(
        FILE.replace(SAID, "{dns: [192.0.2.53], search: [corp.example], mtu: 1400}"), find
    ).roles[0]
    assert (role.network.bridge, role.network.mtu, role.network.is_static) == ("", 1400, True)


@pytest.mark.parametrize(
    ("said", "gateway"),
    [("{bridge: br0}", ""), ("{bridge: br0, addresses: dhcp}", ""), ("{bridge: br0, gateway: dhcp}", "dhcp")],
)
def test_addresses_that_nobody_writes_down_are_asked_of_dhcp(said: str, gateway: str) -> None:
    """For as many instances as there are; the file that is written says the same."""
    spec = servicefile.parse(FILE.replace(SAID, said), find)
    network = spec.roles[0].network
    assert (network.bridge, network.addresses, network.by_dhcp, network.gateway) == ("br0", (), True, gateway)
    assert servicefile.parse(written(spec, find), find) == spec
    assert not servicefile.parse(FILE, find).roles[0].network.by_dhcp


def test_another_address_is_another_vm() -> None:
    """The difference says so."""
    before = servicefile.parse(FILE, find)
    (change,) = difference(before, servicefile.parse(FILE.replace(".11/24", ".12/24"), find))
    assert change.key == "roles.web.network.addresses"
    assert "reimage" in change.effect


@pytest.mark.parametrize(
    ("said", "key", "told"),
    [
        ("br0", "", "is not a mapping"),
        ("{bridge: br0, vlan: 7, addresses: [192.0.2.10/24, 192.0.2.11/24]}", ".vlan", "there is no such key"),
        ("{bridge: 7, addresses: [192.0.2.10/24, 192.0.2.11/24]}", ".bridge", "is not a string"),
        ('{bridge: "br 0", addresses: [192.0.2.10/24, 192.0.2.11/24]}', ".bridge", "is no name of an interface"),
        ('{bridge: "../x", addresses: [192.0.2.10/24, 192.0.2.11/24]}', ".bridge", "is no name of an interface"),
        (f"{{bridge: {'b' * 16}, addresses: [192.0.2.10/24]}}", ".bridge", "is no name of an interface"),
        ("{bridge: vrb-0123456789, addresses: [192.0.2.10/24, 192.0.2.11/24]}", ".bridge", "is vmrole's own"),
        ("{bridge: br0, addresses: DHCP}", ".addresses", "'DHCP' is not a list"),
        ("{addresses: dhcp}", ".addresses", "there is no bridge whose DHCP server could be asked"),
        ("{bridge: br0, gateway: 192.0.2.1}", ".gateway", "which network its addresses are in is not known"),
        (SAID.replace("gateway: 192.0.2.1", "gateway: dhcp"), ".gateway", "nobody asks DHCP"),
        ("{gateway: dhcp}", ".gateway", "there is no bridge that it could be on"),
        ("{bridge: br0, addresses: [192.0.2.10/24]}", ".addresses", "an address each, and there are 1"),
        ("{bridge: br0, addresses: 192.0.2.10/24}", ".addresses", "is not a list"),
        ("{bridge: br0, addresses: [192.0.2.10, 192.0.2.11]}", ".addresses", "is no address in CIDR"),
        ("{bridge: br0, addresses: [192.0.2.10/255.255.255.0]}", ".addresses", "is no address in CIDR"),
        ('{bridge: br0, addresses: ["2001:db8::7/64", 192.0.2.11/24]}', ".addresses", "is no address in CIDR"),
        ("{bridge: br0, addresses: [224.0.0.7/24, 192.0.2.11/24]}", ".addresses", "is no address in CIDR"),
        ("{bridge: br0, addresses: [192.0.2.10/31, 192.0.2.11/31]}", ".addresses", "is no address in CIDR"),
        ("{bridge: br0, addresses: [192.0.2.0/24, 192.0.2.11/24]}", ".addresses", "first or last address"),
        ("{bridge: br0, addresses: [192.0.2.255/24, 192.0.2.11/24]}", ".addresses", "first or last address"),
        ("{bridge: br0, addresses: [192.0.2.10/24, 192.0.2.10/24]}", ".addresses", "of index 0 and of index 1"),
        ("{bridge: br0, addresses: [192.0.2.10/24, 198.51.100.11/24]}", ".addresses", "is not in 192.0.2.0/24"),
        ("{bridge: br0, addresses: [192.0.2.10/24, 192.0.2.11/25]}", ".addresses", "is not in 192.0.2.0/24"),
        (SAID.replace("gateway: 192.0.2.1", "gateway: 192.0.2.10"), ".addresses", "is the gateway as well"),
        (SAID.replace("gateway: 192.0.2.1", "gateway: 198.51.100.1"), ".gateway", "is no address of a router"),
        (SAID.replace("gateway: 192.0.2.1", "gateway: 192.0.2.255"), ".gateway", "is no address of a router"),
        (SAID.replace("gateway: 192.0.2.1", "gateway: router"), ".gateway", "is no address of IPv4"),
        ("{gateway: 192.0.2.1}", ".gateway", "there is no bridge that it could be on"),
        ("{addresses: [192.0.2.10/24]}", ".addresses", "there is no bridge that it could be on"),
        ("{dns: [127.0.0.1]}", ".dns", "is no address of one machine"),
        ("{dns: [0.0.0.1]}", ".dns", "is no address of one machine"),
        ("{bridge: br0, addresses: [0.1.2.3/8, 0.1.2.4/8]}", ".addresses", "is no address in CIDR"),
        ("{dns: []}", ".dns", "is not a list"),
        ("{dns: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}", ".dns", "4 are too many"),
        ('{search: ["corp example"]}', ".search", "is no name of a domain"),
        ('{search: ["a\\nb"]}', ".search", "is no name of a domain"),
        ("{proxy: proxy.example}", ".proxy", "is no URL of a proxy"),
        ('{proxy: "http://joe:hunter2@proxy.example:3128"}', ".proxy", "is no URL of a proxy"),
        ('{proxy: "http://a\'b"}', ".proxy", "is no URL of a proxy"),
        ("{proxy: 'http://proxy.example:0'}", ".proxy", "is no URL of a proxy"),
        ("{proxy: 'http://proxy.example:65536/'}", ".proxy", "is no URL of a proxy"),
        ("{mtu: 1279}", ".mtu", "1279 is out of range"),
        ("{mtu: 9001}", ".mtu", "9001 is out of range"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(said: str, key: str, told: str) -> None:
    """Told with its line, its key, and what would be right."""
    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(FILE.replace(SAID, said), find)
    (fault,) = refused.value.problems
    assert (fault.line, fault.key) == (9, f"roles.web.network{key}")
    assert told in fault.message
    assert fault.hint
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize(
    ("was", "becomes", "key", "told"),
    [
        ("instances: 2", "instances: 2\n    reimage: warm", "roles.web.reimage", "reached by others"),
        ("instances: 2", "instances: 2\n    reimage: prepared", "roles.web.reimage", "reached by others"),
        (", balancer: haproxy", "", "roles.web.endpoints.http.balancer", "would answer clients"),
        ("balancer: haproxy", "protocol: udp", "roles.web.endpoints.http.balancer", "would answer clients"),
        ("{port: 80, balancer: haproxy}", "{type: instance, ports: 8000-8001, target: 80}",
         "roles.web.endpoints.http.type", "would answer clients"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_bridge(was: str, becomes: str, key: str, told: str) -> None:
    """A checkpoint that nobody has reached; whoever carries connections so that members see clients themselves."""
    assert was in FILE
    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(FILE.replace(was, becomes), find)
    (fault,) = refused.value.problems
    assert (fault.key, told in fault.message) == (key, True), fault
    assert fault.line
    assert fault.hint


def test_an_image_that_is_told_nothing() -> None:
    """Nobody would give its guests what stands there."""
    mute = dataclasses.replace(MICRO, answers=AnswerFormat.NONE)
    file = FILE.replace(SAID, "{dns: [192.0.2.53]}").replace(
        "    instances: 2\n", "    instances: 2\n    answers: none\n"
    )
    with pytest.raises(InvalidInput) as refused:
        servicefile.parse(file, lambda _: mute)
    (fault,) = refused.value.problems
    assert (fault.key, fault.line) == ("roles.web.network.dns", 10)
    assert "only cloud-init is told of it" in fault.message
