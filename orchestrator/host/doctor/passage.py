"""Sends what guests and clients send through the host's firewalls, on a bridge and in namespaces that go again.

A guest's namespace is on a bridge of the host, a second one beside it, and a third stands for the outside. What has
passed all that others have hooked into `input` and `forward` is counted by a table of ours behind them, and goes no
further: nothing of the host hears of it, whatever listens there.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network import links, routes
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.patience import Patience
from orchestrator.errors import VmroleError
from orchestrator.host.config import Config
from orchestrator.host.doctor import rulesets
from orchestrator.host.doctor.check import Check, fail, ok
from orchestrator.host.doctor.rulesets import Closed
from orchestrator.model import BRIDGE_PREFIX

NAME: Final = "host firewall"
BRIDGE: Final = f"{BRIDGE_PREFIX}doctor"
_GUEST, _OTHER, _OUTSIDE = "vmrole-doctor-a", "vmrole-doctor-b", "vmrole-doctor-out"
_PORTS: Final = {_GUEST: "vrd-a", _OTHER: "vrd-b", _OUTSIDE: "vrd-out"}
_PLUGGED: Final = (_PORTS[_GUEST], _PORTS[_OTHER])
_HERE, _THERE = "192.0.2.1", "192.0.2.2"  # the host and a client outside: addresses for documentation, RFC 5737
_TABLE: Final = "vmrole-doctor"
_LAST: Final = 10_000  # priority of our hooks, behind all that others use
_ARRIVES_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.05
_WEB: Final = (80, 443)
_LEGACY_TABLES: Final = Path("/proc/net/ip_tables_names")
_IS_FORWARDING: Final = "3"  # BR_STATE_FORWARDING
_FORWARDS: Final = Path("/proc/sys/net/ipv4/conf") / BRIDGE / "forwarding"
# Each line of the script's argument: source port, address, port, "tcp" or "udp". What is sent needs no answer.
_SEND: Final = """
import contextlib, socket, sys
held = []
for line in sys.argv[1:]:
    port, address, target, kind = line.split()
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    one.bind(("0.0.0.0", int(port)))
    one.setblocking(False)
    held.append(one)
    with contextlib.suppress(OSError):
        one.connect((address, int(target))) if kind == "tcp" else one.sendto(b"vmrole", (address, int(target)))
"""
# What is tried: its name in the table, in words, which hook decides about it.
_TRIED: Final = {
    "dhcp": ("a guest's request for an address (UDP to port 67)", "input"),
    "dns": ("a guest's question for a name (UDP to port 53)", "input"),
    "dnstcp": ("a guest's question for a name (TCP to port 53)", "input"),
    "vip": (f"a client's connection to a VIP (TCP to ports {', '.join(map(str, _WEB))})", "input"),
    "out": ("what a guest sends to the outside", "forward"),
    "beside": ("what instances of one service send each other (br_netfilter is loaded)", "forward"),
}


def host_firewall(settings: Config) -> Check:
    """Requests for addresses and names, ways out and VIPs get through the host's firewalls."""
    gateway, guest, other = _addresses(settings.network_pool)
    with _stage(gateway):
        passed = _try(gateway, guest, other)
    stopped = [name for name in _TRIED if name not in passed]
    if not stopped:
        return ok(NAME, "lets through what guests and clients send")
    chains = [chain for chain in _closed() if chain.hook in {_TRIED[name][1] for name in stopped}]
    by = ", ".join(chain.name for chain in chains) or "a rule of the host's (nft list ruleset)"
    told = "; ".join(_TRIED[name][0] for name in stopped)
    return fail(NAME, f"{by} stops {told}", rulesets.remedy(chains, settings.network_pool, settings.vip_interface))


def _addresses(pool: str) -> tuple[str, str, str]:
    """Of the last private network that is free here: the host's address and two guests'."""
    taken = routes.all_of_them()
    subnets = list(ipaddress.IPv4Network(pool).subnets(new_prefix=24))
    free = [subnet for subnet in subnets if not any(subnet.overlaps(other) for other in taken)] or subnets
    return str(free[-1][1]), str(free[-1][10]), str(free[-1][11])


def _try(gateway: str, guest: str, other: str) -> frozenset[str]:
    """What got through. The guest asks for an address before it has one."""
    send = [sys.executable, "-c", _SEND]
    _wait(
        lambda: all(
            (links.NET / port / "brport" / "state").read_text().strip() == _IS_FORWARDING for port in _PLUGGED
        )
    )
    run(["ip", "netns", "exec", _GUEST, *send, "68 255.255.255.255 67 udp"])
    for place, address in ((_GUEST, guest), (_OTHER, other)):
        lines = (f"address add {address}/24 dev eth0", f"route add default via {gateway}")
        run(["ip", "-n", place, "-batch", "-"], stdin="\n".join(lines) + "\n")
    questions = (f"0 {gateway} 53 udp", f"0 {gateway} 53 tcp", f"0 {_THERE} 80 tcp", f"0 {other} 4000 udp")
    run(["ip", "netns", "exec", _GUEST, *send, *questions])
    run(["ip", "netns", "exec", _OUTSIDE, *send, *(f"0 {_HERE} {port} tcp" for port in _WEB)])
    _wait(lambda: _counted() >= _TRIED.keys())
    return _counted()


def _wait(true: Callable[[], bool]) -> None:
    """Until it is so, or the time is over."""
    patience = Patience(SystemClock(), _ARRIVES_S)
    while not true() and not patience.over:
        patience.pause(_LOOK_EVERY_S)


def _counted() -> frozenset[str]:
    listed = json.loads(run(["nft", "-j", "list", "table", "inet", _TABLE]))["nftables"]
    counts = {one["counter"]["name"]: one["counter"]["packets"] for one in listed if "counter" in one}
    there = json.loads(run(["ip", "netns", "exec", _OTHER, "nft", "-j", "list", "table", "ip", _TABLE]))["nftables"]
    counts |= {one["counter"]["name"]: one["counter"]["packets"] for one in there if "counter" in one}
    return frozenset(name for name, packets in counts.items() if packets)


@contextlib.contextmanager
def _stage(gateway: str) -> Iterator[None]:
    """Bridge, namespaces and counters; all of it goes again, also what an earlier look that was killed has left."""
    _clear()
    try:
        for place in _PORTS:
            run(["ip", "netns", "add", place])
        run(["ip", "-batch", "-"], stdin="\n".join(_links(gateway)) + "\n")
        for place in _PORTS:
            run(["ip", "-n", place, "link", "set", "eth0", "up"])
        run(["ip", "-n", _OUTSIDE, "address", "add", f"{_THERE}/30", "dev", "eth0"])
        _FORWARDS.write_text("1")
        run(["nft", "-f", "-"], stdin=_counters())
        run(["ip", "netns", "exec", _OTHER, "nft", "-f", "-"], stdin=_beside())
        yield
    finally:
        _clear()


def _links(gateway: str) -> Iterator[str]:
    yield f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0"
    yield f"address add {gateway}/24 dev {BRIDGE}"
    yield f"link set {BRIDGE} up"
    for place, port in _PORTS.items():
        yield f"link add {port} type veth peer name eth0 netns {place}"
        if port in _PLUGGED:
            yield f"link set {port} master {BRIDGE}"
        yield f"link set {port} up"
    yield f"address add {_HERE}/30 dev {_PORTS[_OUTSIDE]}"


def _counters() -> str:
    hooks = {"input": "", "forward": ""}
    guest, outside = f'iifname "{BRIDGE}"', f'iifname "{_PORTS[_OUTSIDE]}"'
    for hook, name, match in (
        ("input", "dhcp", f"{guest} udp dport 67"),
        ("input", "dns", f"{guest} udp dport 53"),
        ("input", "dnstcp", f"{guest} tcp dport 53"),
        ("input", "vip", f"{outside} tcp dport {{ {', '.join(map(str, _WEB))} }}"),
        ("forward", "out", f'{guest} oifname "{_PORTS[_OUTSIDE]}"'),
    ):
        hooks[hook] += f"{match} counter name {name} drop\n"
    names = "".join(f"counter {name} {{ }}\n" for name in _TRIED if name != "beside")
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} priority {_LAST}; policy accept;\n{rules}}}\n"
        for hook, rules in hooks.items()
    )
    return f"table inet {_TABLE} {{\n{names}{chains}}}\n"


def _beside() -> str:
    chain = f"type filter hook input priority {_LAST}; policy accept;\nudp dport 4000 counter name beside\n"
    return f"table ip {_TABLE} {{\ncounter beside {{ }}\nchain input {{\n{chain}}}\n}}\n"


def _clear() -> None:
    for argv in (
        ["nft", "delete", "table", "inet", _TABLE],
        *(["ip", "link", "del", link] for link in (BRIDGE, *_PORTS.values())),
        *(["ip", "netns", "del", place] for place in _PORTS),
    ):
        with contextlib.suppress(VmroleError):  # It was not there.
            run(argv)


def _closed() -> list[Closed]:
    listed: list[dict[str, Any]] = json.loads(run(["nft", "-j", "list", "ruleset"]))["nftables"]
    found = rulesets.closed(listed)
    if "filter" in _legacy_tables():
        found += rulesets.closed_legacy(run(["iptables-legacy", "-S"]).splitlines())
    return found


def _legacy_tables() -> list[str]:
    """The tables that iptables-legacy has made; asking it would make them."""
    try:
        return _LEGACY_TABLES.read_text().split()
    except OSError:
        return []
