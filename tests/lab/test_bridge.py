"""Instances on a bridge of the host's: real virtual machines, real libvirt, a neighbour that no record knows."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT, HOST, Place
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import VIP, apply, instance, ready
from tests.lab.stand_in import ARRIVES_S, reaches
from tests.world.waiting import comes_true

__all__ = ["ready"]  # fixtures
BRIDGE, NEIGHBOUR = "office0", "neighbour"
_SUBNET = "198.51.100"
_HEARS_S = 20.0  # a look of the host's, a turn, the guard; some seconds
SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 2
    size: {{vcpus: 1, memory: 128 MiB}}
    network:
      bridge: {BRIDGE}
      addresses: [{_SUBNET}.10/24, {_SUBNET}.11/24]
      mtu: 1400
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    setup: {{within: 15 min}}
    ready: {{within: 10 min}}
"""
# The micro guest reads no network-config: what a cloud-init makes of it is asked in tests/lab/long.
_CONFIGURES = "ip address add {address}/24 dev eth1; ip link set eth1 up; cat /sys/class/net/eth1/mtu"


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[RoleDaemon]:
    """One whose host's owner gives such bridges to guests; the first of them there is."""
    daemon = lab.daemon(tmp_path / "vmrole", bridges=[BRIDGE, "office7", "port0"])
    daemon.start()
    yield daemon
    daemon.kill_with_children()


@pytest.fixture
def office(lab: Lab) -> Iterator[Place]:
    """A bridge of the host's with a neighbour on it, who is at .2; the host has no address there."""
    inside = ("nsenter", f"--net=/run/netns/{NEIGHBOUR}", "--")
    HOST.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    HOST.run(["ip", "netns", "add", NEIGHBOUR])
    for command in (
        f"link add port0 mtu 1400 type veth peer name eth0 netns {NEIGHBOUR}",
        f"link set port0 master {BRIDGE} up",
        f"link set {BRIDGE} up",
        f"-n {NEIGHBOUR} addr add {_SUBNET}.2/24 dev eth0",
        f"-n {NEIGHBOUR} link set lo up",
        f"-n {NEIGHBOUR} link set eth0 up",
    ):
        HOST.run(["ip", *command.split()])
    try:
        yield Place(NEIGHBOUR, inside)
    finally:
        for command in ("link del port0", f"netns del {NEIGHBOUR}", f"link del {BRIDGE}"):
            HOST.run(["ip", *command.split()], check=False)


def answers(place: Place, address: str, source: str = "") -> bool:
    """Whether somebody at that address answers an echo."""
    asked = ["ping", "-c1", "-W2", *(["-I", source] if source else []), address]
    return place.run(asked, check=False).returncode == 0


def findings(ready: RoleDaemon) -> dict[str, str]:
    """What verify finds, by whom it is about."""
    found = json.loads(ready.run("verify", "-o", "json", check=False).stdout)
    return {one["subject"]: f"{one['code']} {one['message']}" for one in found}


def refused(ready: RoleDaemon, was: str, becomes: str) -> str:
    """What apply says of the file when that stands in it instead."""
    assert was in SERVICE
    answer = ready.run("apply", "-f", "-", text=SERVICE.replace(was, becomes), check=False)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    return answer.stderr


def test_a_file_that_the_host_cannot_follow(lab: Lab, ready: RoleDaemon, office: Place) -> None:
    """A bridge that is not given, not there, or none, other packets than it carries, an address of private ones."""
    del office
    for other in ("virbr0", "lo"):
        told = refused(ready, f"bridge: {BRIDGE}", f"bridge: {other}")
        assert f"this host's owner does not give bridge {other} to guests" in told
        assert f"name one of: {BRIDGE}, office7, port0; or have the owner add it to bridges in vmrole.toml" in told
    assert f"there is no bridge office7 on this host\nhint: make it, or name one of: {BRIDGE}" in refused(
        ready, f"bridge: {BRIDGE}", "bridge: office7"
    )
    assert "port0 is an interface of this host, and no bridge" in refused(ready, f"bridge: {BRIDGE}", "bridge: port0")
    assert f"bridge {BRIDGE} carries packets of 1400 bytes, and not of 9000" in refused(ready, "1400", "9000")
    assert f"bridge {BRIDGE} would carry no longer packets; by now: 1400" in refused(ready, "1400", "1280")
    assert "from which private networks are cut" in refused(
        ready, f"{_SUBNET}.10/24, {_SUBNET}", "10.90.7.10/24, 10.90.7"
    )
    assert "is a VIP" in refused(ready, f"{_SUBNET}.10/24, {_SUBNET}", f"{VIP}/24, 203.0.113")


def test_a_role_on_a_bridge(lab: Lab, ready: RoleDaemon, office: Place) -> None:
    """Each instance is at its own address for the neighbour and behind the VIP for clients, says nothing that is not
    its own, and is told to be cut off when the bridge is gone; what is on the bridge without us is left alone.
    """
    apply(ready, SERVICE)
    names = ("web-0", "web-1")
    for index, name in enumerate(names):
        mtu = lab.guest(f"{name}.shop", ["/bin/sh", "-c", _CONFIGURES.format(address=f"{_SUBNET}.1{index}")])
        assert mtu.split() == ["1400"]
        assert comes_true(lambda index=index: answers(office, f"{_SUBNET}.1{index}"), ARRIVES_S)  # type: ignore[misc]
        assert reaches(NEIGHBOUR, f"{_SUBNET}.1{index}", 8080)
    for name in names:
        assert comes_true(lambda name=name: served() == f"{name}.shop", ARRIVES_S)  # type: ignore[misc]
    assert findings(ready) == {}

    pretends = f"ip address add {_SUBNET}.99/24 dev eth1; ping -c1 -W2 -I {_SUBNET}.99 {_SUBNET}.2"
    own = f"ping -c1 -W2 -I {_SUBNET}.10 {_SUBNET}.2"
    spoken = lab.guest(
        "web-0.shop", ["/bin/sh", "-c", f"{pretends} > /dev/null && echo lied; {own} > /dev/null && echo spoke"]
    )
    assert spoken.split() == ["spoke"]
    ports = json.loads(HOST.run(["bridge", "-d", "-j", "link", "show"]).stdout)
    taps = [one for one in ports if one["ifname"].startswith("vrt-") and one["master"] == BRIDGE]
    assert [(one["learning"], one["guard"]) for one in taps] == [(False, True)] * 2
    assert [one["learning"] for one in ports if one["ifname"] == "port0"] == [True]

    HOST.run(["ip", "link", "set", taps[0]["ifname"], "nomaster"])
    assert comes_true(lambda: _on_bridge(taps[0]["ifname"]), ARRIVES_S), "put back"
    HOST.run(["ip", "link", "del", BRIDGE])
    told = findings(ready)
    assert set(told) == {f"{name}.shop" for name in names}
    assert all(f"PORT-MISSING there is no bridge {BRIDGE} on this host" in one for one in told.values()), told
    assert instance(ready)["phase"] == "serving", "clients reach it by the private network"


BY_DHCP = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 1
    size: {{vcpus: 1, memory: 128 MiB}}
    network: {{bridge: {BRIDGE}}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    setup: {{within: 15 min}}
    ready: {{within: 10 min}}
"""
# As cloud-init would have it done: an address and nothing else.
_TAKES = r"""cat > /tmp/takes << 'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip -4 addr flush dev eth1
ip addr add "$ip/24" dev eth1
END
chmod +x /tmp/takes; ip link set eth1 up; udhcpc -i eth1 -n -q -t 5 -T 2 -s /tmp/takes > /dev/null 2>&1; echo asked"""


_ASKS_S = 3 * (ARRIVES_S + _HEARS_S)  # A client asks for ten seconds, and the server may begin later.


def _asks(lab: Lab) -> bool:
    return lab.guest("web-0.shop", ["/bin/sh", "-c", _TAKES]) == "asked\n"


@contextlib.contextmanager
def giving(office: Place, last: int) -> Iterator[None]:
    """A DHCP server of the neighbour's that has one address to give away."""
    address = f"{_SUBNET}.{last}"
    asked = [*office.prefix, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping",
             "--interface=eth0", f"--dhcp-range={address},{address},2m", "--dhcp-authoritative", "--leasefile-ro",
             f"--dhcp-option=3,{_SUBNET}.2", "--pid-file="]  # fmt: skip
    server = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def test_a_role_whose_addresses_are_given_by_dhcp(lab: Lab, ready: RoleDaemon, office: Place) -> None:
    """By a server of that network, as real clients ask it; it serves before, and is reached there after, by what it
    has then and nothing else. The host believes the server, shows it, and follows.
    """
    apply(ready, BY_DHCP)
    assert instance(ready)["cards"][0]["address"] == ""
    for last in (77, 88):
        own = f"{_SUBNET}.{last}"
        with giving(office, last):
            assert comes_true(lambda own=own: _asks(lab) and answers(office, own), _ASKS_S)  # type: ignore[misc]
        assert instance(ready)["cards"][0]["address"] == own
        assert f"HostName {own}" in ready.run("ssh-config", "shop", "--by-bridge").stdout
        assert f"it is {own} on bridge {BRIDGE}, by DHCP" in ready.run("events", "web-0.shop").stdout
    former = (
        f"ip address add {_SUBNET}.77/24 dev eth1; ping -c1 -W2 -I {_SUBNET}.77 {_SUBNET}.2 > /dev/null && echo lied"
    )
    assert lab.guest("web-0.shop", ["/bin/sh", "-c", f"{former}; echo done"]) == "done\n"
    told = json.loads(ready.run("inventory", "--list", "--by-bridge").stdout)["_meta"]["hostvars"]["web-0.shop"]
    assert told["ansible_host"] == f"{_SUBNET}.88"


def served() -> str:
    """Which instance a client of the VIP gets."""
    said: str = json.loads(CLIENT.run(["curl", "-sf", f"http://{VIP}/"]).stdout)["instance"]
    return said


def _on_bridge(tap: str) -> bool:
    return f"master {BRIDGE}" in HOST.run(["ip", "link", "show", tap]).stdout
