"""Bridges of the host's that others have made, as sysfs shows them: whether cards of instances can be put on one."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Final

from orchestrator.model import BRIDGE_PREFIX

_NET: Final = Path("/sys/class/net")
_UP: Final = 1  # IFF_UP


def fault(bridge: str, mtu: int | None = None) -> tuple[str, str]:
    """Why no card with packets of that many bytes can be on it, and the remedy; both "" when it can."""
    place = _NET / bridge
    try:
        longest, flags = int((place / "mtu").read_text()), int((place / "flags").read_text(), 16)
    except OSError:
        return f"there is no bridge {bridge} on this host", f"make it, or name one of: {_known()}"
    if not (place / "bridge").is_dir():
        told = f"{bridge} is an interface of this host, and no bridge of its kernel's"
        return told, f"put it on a bridge of its own, and name that; there are: {_known()}"
    if not flags & _UP:
        return f"bridge {bridge} of this host is down", f"run: ip link set dev {bridge} up"
    if mtu is not None and mtu > longest:
        told = f"bridge {bridge} carries packets of {longest} bytes, and not of {mtu}"
        return told, f"give it and its ports that MTU, or say mtu: {longest}"
    return "", ""


def unfit(bridge: str, mtu: int | None = None) -> tuple[str, str]:
    """The same of a card that is new there. The kernel makes a bridge's MTU the least of its ports': one of shorter
    packets would have the host, and whoever is on it, carry no longer ones.
    """
    why, hint = fault(bridge, mtu)
    if why or mtu is None:
        return why, hint
    with contextlib.suppress(OSError):  # It has just gone.
        if mtu < (carried := int((_NET / bridge / "mtu").read_text())):
            told = f"with a card of {mtu} bytes, bridge {bridge} would carry no longer packets; by now: {carried}"
            return told, "leave mtu out, or give the bridge and its ports that MTU"
    return "", ""


def permitted(bridges: Collection[str], bridge: str, mtu: int | None = None) -> tuple[str, str]:
    """The same of one that must be among those that the host's owner gives to guests. Of another nothing is told, not
    even whether it is there.
    """
    if bridge in bridges:
        return unfit(bridge, mtu)
    told = f"this host's owner does not give bridge {bridge} to guests"
    given = f"name one of: {', '.join(sorted(bridges))}" if bridges else "there is none that is given"
    return told, f"{given}; or have the owner add it to bridges in vmrole.toml, and restart the daemon"


def _known() -> str:
    names = sorted(place.name for place in _NET.iterdir() if (place / "bridge").is_dir())
    return ", ".join(name for name in names if not name.startswith(BRIDGE_PREFIX)) or "none"
