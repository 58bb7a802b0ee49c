"""What a real guest sees of its network, and what its root cannot do to it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT_NAMESPACE, HOST
from tests.lab.harness.role import RoleDaemon
from tests.lab.stand_in import ARRIVES_S, reaches
from tests.world.waiting import comes_true

_SERVICE = """service: shop
vip: 203.0.113.10
roles:
  web:
    image: micro
    instances: 2
    size: {vcpus: 1, memory: 128 MiB}
    endpoints:
      http: {port: 80, target: 8080, protocol: http}
"""
_SHELL = ["/bin/sh", "-c"]
STARTS_S = 300.0  # A start of a whole VM; a minute on a quiet machine.


def drops() -> dict[str, int]:
    """What the firewall dropped, by reason."""
    counted = {}
    for item in json.loads(HOST.run(["nft", "-j", "list", "table", "bridge", "vmrole"]).stdout)["nftables"]:
        rule = item.get("rule", {})
        for part in rule.get("expr", ()):
            if "counter" in part:
                counted[rule["comment"]] = part["counter"]["packets"]
    return counted


def test_guests_find_each_other_and_cannot_pretend(lab: Lab, daemon: RoleDaemon, micro_image: Path) -> None:
    """By name over real DHCP and DNS; with another MAC or address even root in a guest reaches nobody."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("apply", "-f", "-", "--wait", text=_SERVICE, timeout_s=300)
    for name in ("web-1", "web-1.shop"):
        answer = json.loads(lab.guest("web-0.shop", [*_SHELL, f"busybox wget -qO- http://{name}:8080/"]))
        assert (answer["hostname"], answer["instance"]) == ("web-1", "web-1.shop")
    address = json.loads(lab.guest("web-0.shop", [*_SHELL, "busybox wget -qO- http://127.0.0.1:8080/"]))["address"]
    assert reaches("", address, 8080)
    assert not reaches(CLIENT_NAMESPACE, address, 8080)
    assert lab.guest("web-0.shop", [*_SHELL, "busybox wget -qO- http://203.0.113.10/ | grep -c hostname"]) == "1\n"

    before = drops()
    ping = "busybox ping -c 2 -W 1 10.90.0.11 >/dev/null"
    assert lab.guest("web-0.shop", [*_SHELL, f"{ping} && echo reached"]) == "reached\n"
    other = "ip address add 10.90.0.99/24 dev eth0", "ip address del 10.90.0.99/24 dev eth0"
    spoofed = f"{other[0]}; {ping.replace('ping', 'ping -I 10.90.0.99')} && echo reached; {other[1]}"
    assert "reached" not in lab.guest("web-0.shop", [*_SHELL, spoofed])
    disguise = "ip link set eth0 down; ip link set eth0 address 52:54:00:ba:d0:01; ip link set eth0 up"
    assert "reached" not in lab.guest("web-0.shop", [*_SHELL, f"{disguise}; {ping} && echo reached; true"])
    after = drops()
    assert after["ARP for another address"] + after["another address"] > before["ARP for another address"]
    assert after["another MAC"] > before["another MAC"]
    assert reaches("", "10.90.0.11", 8080)


def test_what_somebody_does_to_the_network_costs_no_instance(lab: Lab, daemon: RoleDaemon, micro_image: Path) -> None:
    """A stopped network and a removed VIP are mended long before the next audit and told; nobody is healed for it.

    A port that is deleted comes back with a start of its VM alone, which keeps all that the VM had.
    """
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("apply", "-f", "-", "--wait", text=_SERVICE, timeout_s=300)
    before = [(one["name"], one["generation"], one["boot"]) for one in daemon.json("get", "instances")]
    ping = [*_SHELL, "busybox ping -c 1 -W 2 web-1.shop >/dev/null 2>&1 && echo reached; true"]

    def is_told(subject: str, sentence: str) -> bool:
        return sentence in daemon.run("events", subject).stdout

    def serves() -> bool:
        return reaches(CLIENT_NAMESPACE, "203.0.113.10", 80) and lab.guest("web-0.shop", ping) == "reached\n"

    def is_as_recorded() -> bool:
        return json.loads(daemon.run("verify", "-o", "json", check=False).stdout) == []

    for deed, told in (
        (["virsh", "net-destroy", "vmrole-shop"], ("shop", "somebody stopped network vmrole-shop")),
        (["virsh", "net-destroy", "vmrole-shop"], ("web-1.shop", "somebody took its port off")),
        (["ip", "address", "del", "203.0.113.10/32", "dev", "out0"], ("shop", "somebody removed 203.0.113.10")),
        (["sysctl", "-qw", "net.ipv4.ip_forward=0"], ("shop", "somebody switched net.ipv4.ip_forward off")),
    ):
        HOST.run(deed)
        assert comes_true(functools.partial(is_told, *told), ARRIVES_S), told
        assert comes_true(serves, ARRIVES_S), deed
        assert comes_true(is_as_recorded, ARRIVES_S), deed
    assert [(one["name"], one["generation"], one["boot"]) for one in daemon.json("get", "instances")] == before
    daemon.kill()
    HOST.run(["virsh", "net-destroy", "vmrole-shop"])
    daemon.start()
    assert comes_true(lambda: daemon.run("events", "web-0.shop").stdout.count("took its port off") == 3, ARRIVES_S)
    assert comes_true(serves, ARRIVES_S)

    lab.guest("web-1.shop", [*_SHELL, "echo kept >/kept; sync"])
    (port,) = HOST.run(["virsh", "domiflist", "web-1.shop"]).stdout.splitlines()[2:3]
    HOST.run(["ip", "link", "del", port.split()[0]])
    assert comes_true(lambda: "PORT-MISSING" in daemon.run("verify", check=False).stdout, ARRIVES_S)
    assert comes_true(functools.partial(is_told, "web-1.shop", "somebody deleted its port"), ARRIVES_S)
    assert comes_true(serves, STARTS_S)
    assert comes_true(is_as_recorded, STARTS_S)
    assert lab.guest("web-1.shop", [*_SHELL, "cat /kept"]) == "kept\n"
    assert [(one["name"], one["generation"]) for one in daemon.json("get", "instances")] == [
        one[:2] for one in before
    ]


def test_what_the_host_has_already_is_not_given_out(daemon: RoleDaemon, micro_image: Path) -> None:
    """A private network goes round the subnet of others' bridges; a VIP is one of the network of clients."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    HOST.run(["ip", "link", "add", "theirs", "type", "bridge"])
    try:
        HOST.run(["ip", "address", "add", "10.90.0.50/24", "dev", "theirs"])
        HOST.run(["ip", "link", "set", "theirs", "up"])
        nobody = _SERVICE.replace("instances: 2", "instances: 0")
        refused = daemon.run("apply", "-f", "-", check=False, text=nobody.replace("203.0.113.10", "8.8.8.8"))
        assert refused.returncode != 0
        assert "vip 8.8.8.8 is not among the addresses for services (203.0.113.0/24)" in refused.stderr
        daemon.run("apply", "-f", "-", text=nobody)
        (service,) = daemon.json("get", "services")
        assert comes_true(lambda: "10.90.1.1/24" in HOST.run(["ip", "-4", "address"]).stdout, ARRIVES_S), service
        assert "8.8.8.8" not in HOST.run(["ip", "-4", "address"]).stdout
    finally:
        HOST.run(["ip", "link", "del", "theirs"])
