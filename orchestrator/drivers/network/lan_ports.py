"""The ports of running VMs on bridges of the host's own: on them, guarded, and what is wrong with them.

Such a bridge is somebody else's: nothing of it is changed but our ports. A bridge learns who sends an LLDP frame
without asking netfilter, and takes a spanning tree's word from any port. So a port of ours learns nothing (the card
of its guest is told to the bridge instead, or every frame to it would go to all ports), and one that sends such a
word is switched off. What is told is sticky, for a bridge believes a frame that says the same by another port, static
or not, and a port that learns nothing would never have its card back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from orchestrator.drivers.network import links
from orchestrator.drivers.tools import host_bridges
from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed
from orchestrator.model import Instance, InstanceName, LanNic, Missing, Notice, Part

_GUARDS: Final = {"learning": "0", "bpdu_guard": "1"}  # below brport, see ip-link(8), bridge_slave
_DISABLED: Final = "0"  # BR_STATE_DISABLED, which a port that is up is by its guard alone


class LanPorts:
    """Remembers whose bridge it has told to be gone. Thread-safe as `TapPorts` is."""

    def __init__(self) -> None:
        self._told: dict[InstanceName, str] = {}

    def mend(self, instances: Sequence[Instance]) -> Iterator[Notice]:
        """Puts back what was taken off its bridge, and guards what is on it. A bridge that is gone is told once."""
        for instance in instances:
            lan = instance.lan
            why = host_bridges.fault(lan.bridge)[0] if lan else ""
            if lan is None or links.look(lan.tap) is None:
                continue
            if why:
                if self._told.get(instance.name) != why:
                    self._told[instance.name] = why
                    yield Notice(instance.name, f"{why}: nobody reaches it there")
                continue
            self._told.pop(instance.name, None)
            if _unplugged(lan):
                run(["ip", "link", "set", "dev", lan.tap, "master", lan.bridge, "up"])
                yield Notice(instance.name, f"its port was not on {lan.bridge}, the host's bridge: put there")
            _guard(lan)

    def lost(self, instances: Sequence[Instance]) -> bool:
        """Whether `mend` has something to do."""
        return any(
            (_unplugged(lan) or _unguarded(lan)) and not host_bridges.fault(lan.bridge)[0]
            for lan in (one.lan for one in instances)
            if lan is not None and links.look(lan.tap) is not None
        )


def missing(instances: Sequence[Instance]) -> Iterator[Missing]:
    """What is wrong with the ports of these, whose VMs run."""
    for instance in instances:
        if instance.lan is not None and (why := _fault(instance.lan)):
            yield Missing(Part.PORT, instance.name, why)


def _fault(lan: LanNic) -> str:
    if why := host_bridges.fault(lan.bridge)[0]:
        return why
    link = links.look(lan.tap)
    if link is not None and not link.up:
        return f"its port {lan.tap} on the host is down"
    if link is None:
        return f"its port {lan.tap} on the host is gone; it comes back with the VM's next start"
    if _unplugged(lan):
        return f"its port {lan.tap} on the host is not on bridge {lan.bridge}"
    if _read(lan, "state") == _DISABLED:
        return f"its port {lan.tap} on bridge {lan.bridge} is switched off: its guest has sent a spanning tree's word"
    return f"its port {lan.tap} on bridge {lan.bridge} is not guarded" if _unguarded(lan) else ""


def _unplugged(lan: LanNic) -> bool:
    """Whether the port is on no bridge, or on another. One that libvirt is just making is not up yet."""
    link = links.look(lan.tap)
    return link is not None and link.up and link.master != lan.bridge


def _unguarded(lan: LanNic) -> bool:
    return any(_read(lan, name) not in (value, "") for name, value in _GUARDS.items())


def _read(lan: LanNic, name: str) -> str:
    """What the kernel says of its port; "" where it is none."""
    with contextlib.suppress(OSError):
        return (_place(lan) / name).read_text().strip()
    return ""


def _guard(lan: LanNic) -> None:
    if not _unguarded(lan):
        return
    with contextlib.suppress(OSError, CommandFailed):  # It has just gone, with its VM.
        run(["bridge", "fdb", "replace", lan.mac, "dev", lan.tap, "master", "static", "sticky"])
        for name, value in _GUARDS.items():
            (_place(lan) / name).write_text(value)


def _place(lan: LanNic) -> Path:
    return links.NET / lan.tap / "brport"
