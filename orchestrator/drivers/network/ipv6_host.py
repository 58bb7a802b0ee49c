"""Whether this host can route by IPv6 for guests without losing its own way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.command import run

_CONF: Final = Path("/proc/sys/net/ipv6/conf")
_BOTH: Final = "2"  # accept_ra: also while forwarding


def fault() -> tuple[str, str]:
    """What keeps it from that, and the remedy; both "" where nothing does.

    A host that forwards forgets the routes that its kernel has from routers, unless it is told to go on listening
    (linux/Documentation/networking/ip-sysctl.rst, accept_ra). What systemd-networkd or NetworkManager has from them
    is theirs, and stays: they have switched the kernel's own listening off.
    """
    if not _CONF.exists():
        return "this host's kernel speaks no IPv6", "start it without ipv6.disable=1, or use a VIP of IPv4"
    for link in sorted(_heard_of_routers()):
        if _reads(link) == "1":
            told = f"{link} has its IPv6 routes from routers, and would lose them when this host routes by IPv6"
            return told, f"sysctl -w net.ipv6.conf.{link}.accept_ra=2, and in /etc/sysctl.d for the next start"
    return "", ""


def _heard_of_routers() -> set[str]:
    """Links with routes that came by router advertisements."""
    listed = json.loads(run(["ip", "-j", "-6", "route", "show", "proto", "ra"]) or "[]")
    hops = [hop for one in listed for hop in (one, *one.get("nexthops", ()))]
    return {str(hop["dev"]) for hop in hops if "dev" in hop}


def _reads(link: str) -> str:
    try:
        return (_CONF / link / "accept_ra").read_text().strip()
    except OSError:  # It has just gone.
        return _BOTH
