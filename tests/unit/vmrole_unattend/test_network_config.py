"""The guest's network: what is refused, and what cloud-init's own code makes of the rest."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmrole_unattend import AnswersInvalid, network_config, nocloud
from vmrole_unattend.network_config import Network

_MAC = "52:54:00:12:34:56"
_STATIC = Network(mac=_MAC, address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53", "2001:db8::53"))
_STATIC_6 = Network(mac=_MAC, address="2001:db8::10/64", gateway="2001:db8::1", dns=("2001:db8::53",))

# Debian's interpreter: cloud-init is a Debian package and is not in the virtual environment.
_CONSUMER = """
import json, sys
from cloudinit import util
from cloudinit.net import network_state, {renderer}
util.chownbyname = lambda *_: None
state = network_state.parse_net_config_data(util.load_yaml(sys.stdin.read()), skip_broken=False)
{renderer}.Renderer({config}).render_network_state(state, target=sys.argv[1])
"""
_CONFIGS = {
    "eni": {"eni_path": "made"},
    "netplan": {"netplan_path": "made", "netplan_header": ""},
    "networkd": {"network_conf_dir": "/"},
    "network_manager": {},
    "sysconfig": {  # as for RHEL and its like
        "control": "etc/sysconfig/network",
        "iface_templates": "%(base)s/network-scripts/ifcfg-%(name)s",
        "route_templates": {
            "ipv4": "%(base)s/network-scripts/route-%(name)s",
            "ipv6": "%(base)s/network-scripts/route6-%(name)s",
        },
    },
}
# A namespace of its own, in whose /sys there is one card.
_CARD = """
mount -t sysfs sysfs /sys && ip link add {card} address {mac} type veth peer name other && exec "$@"
"""


def _rendered(
    place: Path, network: Network, renderer: str, card: str = "eth0", more: tuple[Network, ...] = ()
) -> str:
    """All that cloud-init writes from our network-config, on a system that calls the card so."""
    disc = nocloud.files(dataclasses.replace(_answers(network), more=more))["network-config"]
    program = _CONSUMER.format(renderer=renderer, config=_CONFIGS[renderer])
    apart = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net", "--mount"]
    inside = ["sh", "-c", _CARD.format(card=card, mac=_MAC), "sh", "/usr/bin/python3", "-c", program, str(place)]
    subprocess.run([*apart, *inside], input=disc, check=True, timeout=60, capture_output=True)
    return "\n".join(path.read_text() for path in sorted(place.rglob("*")) if path.is_file())


def _answers(network: Network) -> nocloud.Answers:
    said = {key: value for key, value in dataclasses.asdict(network).items() if key not in ("routes", "names")}
    return nocloud.Answers(
        instance_id="7b0f3f0e-0000-4000-8000-000000000001",
        hostname="web-0",
        service="shop",
        instance="web-0.shop",
        generation=3,
        **said,
    )


def _stanzas(interfaces: str) -> list[str]:
    """What /etc/network/interfaces says of the first interface.

    cloud-init 22.4 also writes an option that is called `dns` and is a piece of Python, and gives the name servers to
    the loopback, too; ifupdown has no use for either.
    """
    _, found, ours = interfaces.partition("auto eth0\n")
    lines = [line.strip() for line in f"{found}{ours}".split("\n") if not line.strip().startswith("dns {")]
    return [line for line in lines if line]


def test_cloudinit_brings_up_the_first_interface_by_dhcp(tmp_path: Path) -> None:
    """For ifupdown the network-config becomes one interface with DHCP, found by its MAC address and called eth0."""
    assert _stanzas(_rendered(tmp_path, Network(mac=_MAC), "eni")) == ["auto eth0", "iface eth0 inet dhcp"]


_TWO = (Network(mac=_MAC), Network(mac="52:54:00:12:34:57", routes=False, names=False))


def test_of_a_second_card_s_dhcp_its_address_alone_is_taken() -> None:
    """And of a first one's, all; where the way out is wanted there, that as well."""
    made = network_config.version_2(*_TWO)["ethernets"]
    assert isinstance(made, dict)
    assert "dhcp4-overrides" not in made["eth0"]
    assert made["eth1"]["dhcp4"] is True
    assert made["eth1"]["dhcp4-overrides"] == {"use-routes": False, "route-metric": 4096, "use-dns": False}
    routed = network_config.version_2(dataclasses.replace(_TWO[1], routes=True))["ethernets"]
    assert isinstance(routed, dict)
    assert routed["eth0"]["dhcp4-overrides"] == {"use-dns": False}


@pytest.mark.parametrize(
    ("renderer", "own"),
    [
        ("eni", "iface eth1 inet dhcp\n    metric 4096"),
        ("netplan", "use-routes: false"),
        ("networkd", "UseRoutes=False"),
    ],
)
def test_cloudinit_makes_of_it_what_the_system_knows(tmp_path: Path, renderer: str, own: str) -> None:
    """The first card's is as it is alone."""
    assert own.lower() in _rendered(tmp_path, _TWO[0], renderer, more=_TWO[1:]).lower()


_BESIDE = Network(mac=_MAC, address6="fd12:3456:789a:1::10/64", gateway6="fd12:3456:789a:1::1")


@pytest.mark.parametrize(
    ("renderer", "by_dhcp"),
    [
        ("eni", "inet dhcp"),
        ("netplan", "dhcp4: true"),
        ("networkd", "DHCP=ipv4"),
        ("network_manager", "[ipv4]\nmethod=auto"),
        ("sysconfig", "BOOTPROTO=dhcp"),
    ],
)
def test_an_address_of_ipv6_comes_beside_dhcp(tmp_path: Path, renderer: str, by_dhcp: str) -> None:
    """On each kind of system, with the way out by it; what DHCP gives is asked for as ever."""
    made = _rendered(tmp_path, _BESIDE, renderer)
    assert by_dhcp in made
    assert "fd12:3456:789a:1::10/64" in made
    assert "fd12:3456:789a:1::1" in made.replace("fd12:3456:789a:1::10/64", "")


def test_windows_is_told_of_it_as_openstack_would() -> None:
    """Beside DHCP, as a network of its own."""
    dhcp, static = json.loads(nocloud.to_json(network_config.network_data(_BESIDE, "Ethernet")))["networks"]
    assert dhcp["type"] == "ipv4_dhcp"
    assert (static["type"], static["ip_address"], static["netmask"]) == (
        "ipv6",
        "fd12:3456:789a:1::10",
        "ffff:ffff:ffff:ffff::",
    )
    assert static["routes"] == [{"network": "::", "netmask": "::", "gateway": "fd12:3456:789a:1::1"}]


@pytest.mark.parametrize(
    ("address6", "gateway6", "where"),
    [
        ("fd12::10/64", "", "gateway6"),
        ("", "fd12::1", "address6"),
        ("192.0.2.10/24", "192.0.2.1", "address6"),
        ("fd12::10/64", "fd13::1", "gateway6"),
        ("fd12::10/64", "fd12::10", "gateway6"),
    ],
)
def test_what_no_card_can_have_by_ipv6_is_refused(address6: str, gateway6: str, where: str) -> None:
    """By its name, and with what would do."""
    with pytest.raises(AnswersInvalid) as refused:
        network_config.check(Network(mac=_MAC, address6=address6, gateway6=gateway6))
    assert refused.value.where == where
    assert refused.value.hint


# What each kind of system is told of the card's name, and by what else it finds the card.
_NAMED = {
    "eni": ("iface ens3 inet", "auto ens3"),
    "netplan": (f"macaddress: '{_MAC}'", "match:"),
    "networkd": ("Name=ens3", f"MACAddress={_MAC}"),
    "network_manager": (f"mac-address={_MAC.upper()}", "method="),
    "sysconfig": ("DEVICE=ens3", f"HWADDR={_MAC}"),
}


@pytest.mark.parametrize("renderer", _NAMED)
@pytest.mark.parametrize(
    "network", [Network(mac=_MAC), _STATIC, _STATIC_6, _BESIDE], ids=["dhcp", "static", "static6", "both"]
)
def test_the_card_keeps_the_name_that_its_system_gives_it(tmp_path: Path, renderer: str, network: Network) -> None:
    """No system is told to rename it, which a card that something has used already would not let itself be, nor to
    configure one of another name: there would be no network.
    """
    made = _rendered(tmp_path, network, renderer, card="ens3")
    for words in _NAMED[renderer]:
        assert words in made
    for name in ("set-name", "iface eth0", "Name=eth0", "interface-name=eth0", "DEVICE=eth0"):
        assert name not in made


def test_netplan_asks_by_the_card_and_not_by_the_machine_id(tmp_path: Path) -> None:
    """Copies of one image may share a machine-id, of which networkd would make the identifier of its lease."""
    assert "dhcp-identifier: mac" in _rendered(tmp_path, Network(mac=_MAC), "netplan")


def test_cloudinit_writes_a_static_address_for_ifupdown(tmp_path: Path) -> None:
    """Address, name servers and the route to everywhere arrive in Debian's file."""
    assert _stanzas(_rendered(tmp_path, _STATIC, "eni")) == [
        "auto eth0",
        "iface eth0 inet static",
        "address 192.0.2.10/24",
        "dns-nameservers 192.0.2.53 2001:db8::53",
        "post-up route add default gw 192.0.2.1 || true",
        "pre-down route del default gw 192.0.2.1 || true",
    ]


@pytest.mark.parametrize("network", [_STATIC, _STATIC_6])
def test_cloudinit_writes_a_static_address_for_netplan(tmp_path: Path, network: Network) -> None:
    """netplan is told the same of either family, and nothing of DHCP."""
    made = _rendered(tmp_path, network, "netplan")
    everywhere = "0.0.0.0/0" if network is _STATIC else "::/0"
    for line in (
        f"- {network.address}",
        f"- {network.dns[0]}",
        f"to: {everywhere}",
        f"via: {network.gateway}",
        f"macaddress: '{_MAC}'",
    ):
        assert line in made
    assert "dhcp" not in made


@pytest.mark.parametrize("renderer", ["eni", "netplan"])
def test_a_second_card_and_domains_to_look_in(tmp_path: Path, renderer: str) -> None:
    """The way to everywhere is by the second card alone, and names are asked for as the first one says."""
    first = Network(mac=_MAC, address="10.90.0.10/24", dns=("192.0.2.53",), search=("corp.example", "example"))
    second = Network(mac=_MAC.replace("52:", "56:"), address="192.0.2.10/24", gateway="192.0.2.1")
    made = _rendered(tmp_path, first, renderer, more=(second,))
    for words in {
        "eni": ("address 10.90.0.10/24", "dns-search corp.example example", "address 192.0.2.10/24"),
        "netplan": ("- 10.90.0.10/24", "- corp.example", "- 192.0.2.10/24", f"macaddress: '{second.mac}'"),
    }[renderer]:
        assert words in made
    assert made.count("route add default gw" if renderer == "eni" else "via:") == 1
    assert "192.0.2.1" in made
    assert "dhcp" not in made


@pytest.mark.parametrize(
    "more",
    [
        Network(mac="x"),
        Network(mac=_MAC, search=("example",)),
        Network(mac=_MAC, address="192.0.2.10/24", search=("a\n  up reboot",)),
    ],
    ids=["mac", "by dhcp", "search"],
)
def test_a_second_card_that_cannot_be_is_refused(more: Network) -> None:
    """As the first one would be."""
    with pytest.raises(AnswersInvalid):
        dataclasses.replace(_answers(Network(mac=_MAC)), more=(more,))


def test_an_address_alone_makes_no_route(tmp_path: Path) -> None:
    """A guest that talks to its neighbours only is given neither gateway nor name server."""
    made = _stanzas(_rendered(tmp_path, Network(mac=_MAC, address="192.0.2.10/32"), "eni"))
    assert made == ["auto eth0", "iface eth0 inet static", "address 192.0.2.10/32"]


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("mac", {"mac": "52:54:00:12:34"}),
        ("mac", {"mac": "52:54:00:AB:CD:EF"}),
        ("mac", {"mac": f"{_MAC}\n"}),
        ("gateway", {"gateway": "192.0.2.1"}),
        ("dns", {"dns": ("192.0.2.1",)}),
        ("address", {"address": "192.0.2.10"}),
        ("address", {"address": "192.0.2.0/24"}),
        ("address", {"address": "192.0.2.10/33"}),
        ("address", {"address": "192.0.2.10/255.255.255.0"}),
        ("address", {"address": "192.0.2.10/24\n  up reboot"}),
        ("address", {"address": "2001:db8::/64"}),
        ("address", {"address": "fe80::1%up reboot/64"}),
        ("address", {"address": "web-0"}),
        ("gateway", {"address": "192.0.2.10/24", "gateway": "198.51.100.1"}),
        ("gateway", {"address": "192.0.2.10/24", "gateway": "192.0.2.10"}),
        ("gateway", {"address": "192.0.2.10/24", "gateway": "2001:db8::1"}),
        ("gateway", {"address": "192.0.2.10/24", "gateway": "192.0.2.1/24"}),
        ("dns", {"address": "192.0.2.10/24", "dns": ("192.0.2.53", "ns.example.org")}),
    ],
)
def test_a_network_that_cannot_be_is_refused(where: str, given: dict[str, object]) -> None:
    """The error names the field and says what would be right."""
    with pytest.raises(AnswersInvalid) as refused:
        network_config.check(Network(**{"mac": _MAC, **given}))  # type: ignore[arg-type]
    assert refused.value.where == where
    assert refused.value.hint
    with pytest.raises(AnswersInvalid):
        _answers(Network(**{"mac": _MAC, **given}))  # type: ignore[arg-type]


@given(st.text(max_size=50) | st.ip_addresses().map(str), st.text(max_size=50) | st.ip_addresses().map(str))
def test_no_text_gets_through_as_an_address(address: str, server: str) -> None:
    """Whatever is not refused consists of what addresses are made of."""
    try:
        network_config.check(Network(mac=_MAC, address=f"{address}/24", dns=(server,)))
    except AnswersInvalid:
        return
    assert set(address + server) <= set("0123456789abcdefABCDEF.:")
