"""Whether the host routes for a bridge of ours: switches below /proc/sys/net/ipv4, and sysctl's names for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_IPV4: Final = Path("/proc/sys/net/ipv4")


def closed(bridge: str) -> tuple[Path, ...]:
    """The switches that are off; that of a bridge that is not there is none."""
    return tuple(_closed(bridge))


def _closed(bridge: str) -> Iterator[Path]:
    for switch in (_IPV4 / "ip_forward", _IPV4 / "conf" / bridge / "forwarding"):
        try:
            if switch.read_text().strip() == "0":
                yield switch
        except FileNotFoundError:
            continue


def open_(switch: Path) -> None:
    """Switches it on; with `ip_forward` the kernel switches all the others on as well."""
    switch.write_text("1")


def name(switch: Path) -> str:
    """What sysctl calls it."""
    return "net.ipv4." + ".".join(switch.relative_to(_IPV4).parts)
