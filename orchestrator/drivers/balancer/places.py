"""Whether an endpoint's place on this host is free: asked before a balancer fails on all for the sake of one."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection, Iterator, Sequence

from orchestrator.drivers.tools.patience import Patience
from orchestrator.errors import Permanent
from orchestrator.model import Frontend, Mode, PoolName


def places(frontend: Frontend) -> Iterator[str]:
    """ADDRESS:PORT of each of its ports, and /udp where it is that."""
    for port in frontend.ports:
        yield at(frontend.vip, port) + ("/udp" if frontend.mode is Mode.UDP else "")


def at(vip: str, port: int) -> str:
    """ADDRESS:PORT; an address of IPv6 stands in brackets."""
    return f"[{vip}]:{port}" if ":" in vip else f"{vip}:{port}"


def refusals(wanted: Sequence[Frontend], ours: Collection[str]) -> dict[PoolName, str]:
    """Why nobody could listen on some of them, a sentence each; places in `ours` are free to us."""
    refused = {}
    for frontend in wanted:
        for port, place in zip(frontend.ports, places(frontend), strict=True) if frontend.vip else ():
            if place not in ours and (why := _refusal(frontend, port, place)):
                refused[frontend.pool] = why
                break
    return refused


def refusals_in_time(
    wanted: Sequence[Frontend], were_ours: Collection[str], patience: Patience, pause_s: float
) -> dict[PoolName, str]:
    """The same, where what held some of these places is about to let go of them."""
    while True:
        refused = refusals(wanted, ())
        was_ours = any(one.pool in refused and not set(places(one)).isdisjoint(were_ours) for one in wanted)
        if patience.over or not was_ours:
            return refused
        patience.pause(pause_s)


def _refusal(frontend: Frontend, port: int, place: str) -> str:
    kind = socket.SOCK_DGRAM if frontend.mode is Mode.UDP else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in frontend.vip else socket.AF_INET
    with contextlib.closing(socket.socket(family, kind)) as probe:
        if kind == socket.SOCK_STREAM:  # What was open there a minute ago holds nothing any more.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((frontend.vip, port))
        except PermissionError as error:
            raise Permanent(f"no right to listen on {place}", hint="run the daemon as root") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return f"the VIP {frontend.vip} is not on this host yet"
            return f"port {port} of {frontend.vip} is taken by another program"
    return ""
