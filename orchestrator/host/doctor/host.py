"""The host itself: directories, interfaces, routes, memory, time."""

from __future__ import annotations

import ctypes
import difflib
import errno
import grp
import ipaddress
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import orchestrator
from orchestrator.client.transport import for_looking
from orchestrator.drivers.network import egress as networks
from orchestrator.drivers.network import ipv6_host, routes, routing
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.ownership import WRITABLE, others_hold, others_hold_within
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, existing, fail, in_the_way, ok, warn
from orchestrator.model import BRIDGE_PREFIX

_FREE_LEAST_BYTES, _FREE_BYTES = 1 << 30, 10 << 30
_OURS_ALONE = "it must be root's, with nobody else to write to it: chown root, chmod go-w"
_ONLY_OURS = "127.153.0.67"  # an address of this host that nobody listens on but who listens on all
_CARRIED: Final = ("bridge", "bond", "team")  # of what an interface may be a part, and lose its addresses to
_INTERFACE_NAME_MAX = 12  # a VIP is marked as ours by the label NAME:vr, of at most 15 characters
_SOCKET_PATH_MAX_BYTES = 107  # unix(7)
_MONITOR_NAME_BYTES = 13  # RUN/monitor.sock
_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_RESOLVERS: Final = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # more than struct timex is anywhere


def root(settings: Config) -> Check:
    """Networks, firewall and VMs need root."""
    del settings
    if os.geteuid() != 0:
        return fail("root", "not root, so most of what follows cannot be tried", "sudo vmrole doctor")
    return ok("root", "may change networks and start VMs")


def program(settings: Config) -> Check:
    """What root runs as vmrole, its virtual environment and its modules, is nobody else's to change."""
    del settings
    return judge_program({Path(sys.prefix), Path(orchestrator.__file__).parent})


def judge_program(places: Iterable[Path]) -> Check:
    """Of these directories and all that lies in them."""
    name = "program"
    for place in places:
        if others := others_hold(place) or others_hold_within(place):
            hint = "root runs it: chown -R root and chmod -R go-w, or install it in a place of root's"
            return (fail if WRITABLE in others else warn)(name, others, hint)
    return ok(name, f"{sys.prefix} is nobody else's to change")


def state_dir(settings: Config) -> Check:
    """The state directory is private, can be written, and has room."""
    name, path = "state directory", settings.state_dir
    place = existing(path)
    if file := in_the_way(path):
        return fail(name, f"{file} is no directory", "move it away, or set state_dir to another place")
    free = shutil.disk_usage(place).free
    room = f"{free / (1 << 30):.1f} GiB free"
    if not os.access(place, os.W_OK | os.X_OK):
        return fail(name, f"{place} cannot be written", "run as root, or set state_dir")
    if free < _FREE_LEAST_BYTES:
        return fail(name, f"{path}: {room}", "make room, or move state_dir to a larger file system")
    if others := others_hold(place):
        return fail(name, others, _OURS_ALONE)
    if free < _FREE_BYTES:
        return warn(name, f"{path}: {room}", "overlays grow as guests write; a full disk pauses them")
    return ok(name, f"{path}: {room}{'' if path.is_dir() else ', will be made'}")


def run_dir(settings: Config) -> Check:
    """The run directory can be written, and paths of sockets in it are short enough."""
    name, path = "run directory", settings.run_dir
    place = existing(path)
    longest = max(len(os.fsencode(path)) + _MONITOR_NAME_BYTES, len(os.fsencode(for_looking(str(settings.socket)))))
    if longest > _SOCKET_PATH_MAX_BYTES:
        return fail(name, f"{path} is so long that no socket fits in", "set run_dir to a shorter path")
    if file := in_the_way(path):
        return fail(name, f"{file} is no directory", "move it away, or set run_dir to another place")
    if not os.access(place, os.W_OK | os.X_OK):
        return fail(name, f"{place} cannot be written", "run as root, or set run_dir")
    if others := others_hold(place):
        return fail(name, others, _OURS_ALONE)
    return ok(name, f"{path}{'' if path.is_dir() else ', will be made'}")


def secrets_dir(settings: Config) -> Check:
    """What service files name as secrets is the host's owner's alone; a host may have none."""
    name, path = "secrets directory", settings.secrets_dir
    if file := in_the_way(path):
        return fail(name, f"{file} is no directory", "move it away, or set secrets_dir to another place")
    if not path.is_dir():
        return ok(name, f"{path} is not there, so no service file can name a secret")
    if others := others_hold(path):
        return fail(name, others, _OURS_ALONE)
    return ok(name, f"{path}: {len(list(path.iterdir()))} entries")


def socket_group(settings: Config) -> Check:
    """The group whose members may use the socket exists."""
    name, group = "socket group", settings.socket_group
    try:
        members = grp.getgrnam(group).gr_mem
    except KeyError:
        return warn(name, f"there is no group {group}: only root may use vmrole", f"groupadd --system {group}")
    return ok(name, f"{group}: {', '.join(members) or 'no members besides root'}")


def vip_interface(settings: Config) -> Check:
    """The interface that VIPs are added to is there and up."""
    name, interface = "vip interface", settings.vip_interface
    links = _links()
    usable = _usable(links)
    set_one = f"set vip_interface in the configuration to one of: {', '.join(usable) or '(there is none)'}"
    if not interface:
        return fail(name, "none is configured, so no service can be applied", set_one)
    link = next((link for link in links if link["ifname"] == interface), None)
    if link is None:
        near = difflib.get_close_matches(interface, usable, 1)
        return fail(
            name, f"there is no interface {interface}", f"did you mean {near[0]}? {set_one}" if near else set_one
        )
    if len(interface) > _INTERFACE_NAME_MAX:
        return fail(name, f"the name {interface} is longer than {_INTERFACE_NAME_MAX} characters", set_one)
    if interface.startswith(BRIDGE_PREFIX):
        return fail(name, f"{interface} is the private network of a service", set_one)
    if "UP" not in link["flags"]:
        return warn(name, f"{interface} is down: nobody reaches a VIP on it", f"ip link set {interface} up")
    if "LOOPBACK" in link["flags"]:
        told = f"nobody but this host reaches a VIP on {interface}, unless routers of yours lead it here"
        return warn(name, told, set_one)
    if link.get("linkinfo", {}).get("info_slave_kind") in _CARRIED:
        above = link["master"]
        told = f"{interface} is a port of {above}, and addresses belong to that: who asks for a VIP is not answered"
        return warn(name, told, f"set vip_interface in the configuration to {above}")
    return ok(name, f"{interface} is up")


def interfaces() -> list[str]:
    """Names of those that may be vip_interface."""
    return _usable(_links())


def _links() -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = json.loads(run(["ip", "-j", "-d", "link", "show"]))
    return links


def _usable(links: list[dict[str, Any]]) -> list[str]:
    return [
        link["ifname"]
        for link in links
        if "LOOPBACK" not in link["flags"]
        and not link["ifname"].startswith(BRIDGE_PREFIX)
        and len(link["ifname"]) <= _INTERFACE_NAME_MAX
    ]


def network_pool(settings: Config) -> Check:
    """There are private networks into which no route of the host leads, but our own."""
    name, pool = "network pool", ipaddress.IPv4Network(settings.network_pool)
    taken = [route for route in routes.foreign() if route.network.overlaps(pool)]
    subnets = list(pool.subnets(new_prefix=24))
    free = [one for one in subnets if not any(one.overlaps(route.network) for route in taken)]
    told = ", ".join(f"{pool} overlaps {route.network} on {route.link}" for route in taken)
    if not free:
        return fail(name, told, "set network_pool to a range that is free here")
    if taken:
        message = f"{told}; {len(free)} of {len(subnets)} private networks are left"
        return warn(name, message, "it will do; to have them all, set network_pool to a range that is free here")
    return ok(name, f"{pool} is free: room for {2 ** (24 - pool.prefixlen)} services")


def egress(settings: Config) -> Check:
    """Guests reach the networks of this host, or their owner knows that they do not."""
    name, refused = "egress", networks.denied(settings.egress_deny, settings.egress_allow)
    closed = [f"{one.network} on {one.link}" for one in routes.foreign() if networks.is_denied(one.network, refused)]
    closed += [
        f"{one}, this host's name server (names they ask the host)"
        for one in _name_servers()
        if networks.is_denied(ipaddress.IPv4Network(one), refused)
    ]
    if closed:
        needed = "name what they need there (a mirror, a domain controller) in egress_allow"
        return warn(name, f"guests do not reach {', '.join(closed)}", needed)
    return ok(name, f"guests do not reach {', '.join(refused)}")


def _name_servers() -> list[str]:
    """Those of IPv4 that this host asks, also behind systemd-resolved's own; none of this host itself."""
    lines = [line for file in _RESOLVERS if file.exists() for line in file.read_text().splitlines()]
    servers = re.findall(r"^nameserver\s+([\d.]+)\s*$", "\n".join(lines), re.MULTILINE)
    return [one for one in dict.fromkeys(servers) if not one.startswith("127.")]


def forwarding(settings: Config) -> Check:
    """The host routes, so that guests reach the outside."""
    if _FORWARDING.read_text().strip() == "0":
        message = f"net.ipv4.ip_forward is 0; it is switched on with the first service{_for_whom(settings)}"
        return warn("forwarding", message, "to have it from the start: sysctl -w net.ipv4.ip_forward=1")
    if routing.Before(Layout(settings.state_dir, settings.run_dir).routing).was_off:
        return ok("forwarding", f"net.ipv4.ip_forward is on{_for_whom(settings)}")
    return ok("forwarding", "net.ipv4.ip_forward is on")


def ipv6(settings: Config) -> Check:
    """The host can route by IPv6 for guests of services whose IPv6 VIP the kernel carries."""
    del settings
    fault, remedy = ipv6_host.fault()
    if fault:
        return warn("ipv6 of guests", f"{fault}: no endpoint of nftables at a VIP of IPv6 can be had", remedy)
    return ok("ipv6 of guests", "can be routed, which begins with the first service that needs it")


def _for_whom(settings: Config) -> str:
    return ", for guests alone" if settings.forwarding == "auto" else ", for everybody"


def ports(settings: Config) -> Check:
    """Nobody else listens on all addresses for DNS and DHCP: each network has a dnsmasq of its own for them."""
    del settings
    name = "dns and dhcp ports"
    for port, kind, device in (
        (53, socket.SOCK_DGRAM, b""),
        (53, socket.SOCK_STREAM, b""),
        (67, socket.SOCK_DGRAM, b"lo"),
    ):
        with socket.socket(socket.AF_INET, kind) as one:
            if device:  # As dnsmasq does, so that several of them share the port.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                one.bind(("" if port == 67 else _ONLY_OURS, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                what = f"{'tcp' if kind is socket.SOCK_STREAM else 'udp'} port {port}"
                told = f"{what} is taken on all addresses by {_holder(kind, port)}: no service gets a network"
                return fail(name, told, "have it listen on its own addresses only, e.g. dnsmasq: bind-dynamic")
    return ok(name, "are free for private networks")


def _holder(kind: socket.SocketKind, port: int) -> str:
    """Who listens on the port, as ss(8) knows."""
    flag = "-Hlntp" if kind is socket.SOCK_STREAM else "-Hlunp"
    names = re.findall(r'\("([^"]+)",pid=(\d+)', run(["ss", flag, f"sport = :{port}"]))
    return ", ".join(f"{name} (pid {pid})" for name, pid in dict.fromkeys(names)) or "a program"


def clock(settings: Config) -> Check:
    """The clock is synchronised: certificates and the ledger depend on it."""
    del settings
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state < 0:
        return warn(
            "clock", f"cannot be asked: {os.strerror(ctypes.get_errno())}", "see that the host's time is right"
        )
    if state == _TIME_ERROR:
        return warn("clock", "is not synchronised", "run chrony or systemd-timesyncd")
    return ok("clock", "is synchronised")
