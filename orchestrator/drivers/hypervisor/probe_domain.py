"""What libvirt leaves a QEMU of its own here, found out by starting one that does nothing.

A program of its own, `python -m orchestrator.drivers.hypervisor.probe_domain URI`, for a call to a libvirtd that is
stopped has no end: whoever runs it can end it. The domain is paused, has no disk and no network, and is libvirtd's to
destroy as soon as the connection ends that has made it, however it ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import libvirt
from lxml import etree

from orchestrator.drivers.hypervisor.accelerator import EMULATOR
from orchestrator.drivers.hypervisor.domain_parts import PID_FILES, add

NAME: Final = "vmrole-doctor"
NAMESPACE: Final = "https://vmrole.dev/probe/1"  # not that of our instances: no daemon takes it for one
NO_ANSWER, NO_START = 3, 4  # exit statuses
_MEMORY_MIB = 16  # it never runs


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Those of a process. `ids` are its users, `groups` its groups; seccomp as in proc(5): 0 none, 2 by a filter.

    `label` is what AppArmor or SELinux confines it by, "" when there is neither.
    """

    ids: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: int
    seccomp: int
    label: str


def of_process(pid: int) -> Rights:
    """What the kernel says of a process; raises OSError when it is gone."""
    place = Path("/proc") / str(pid)
    status: Mapping[str, str] = dict(
        line.split(":\t", 1) for line in (place / "status").read_text().splitlines() if ":\t" in line
    )
    label = ""
    with contextlib.suppress(OSError):  # EINVAL where no module of the kernel gives labels.
        label = (place / "attr" / "current").read_text().strip("\0\n ")
    return Rights(
        ids=tuple(map(int, status["Uid"].split())),
        groups=tuple(map(int, status["Gid"].split())),
        capabilities=int(status["CapEff"], 16) | int(status["CapPrm"], 16),
        seccomp=int(status.get("Seccomp", "0")),
        label=label,
    )


@contextlib.contextmanager
def started(connection: libvirt.virConnect) -> Iterator[int]:
    """A domain of ours, for so long; its QEMU's process id. Raises libvirt.libvirtError, or OSError without an id."""
    name = f"{NAME}-{os.getpid()}"
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
    domain = connection.createXML(xml(name), flags)
    try:
        yield int((PID_FILES / f"{name}.pid").read_text())
    finally:
        with contextlib.suppress(libvirt.libvirtError):  # It has ended by itself.
            domain.destroy()


def xml(name: str) -> str:
    """The domain: a board, memory, and nothing that belongs to anybody."""
    root = etree.Element("domain", {"type": "qemu"})
    add(root, "name", text=name)
    add(root, "description", text="vmrole doctor looks at its process; it goes again at once")
    etree.SubElement(add(root, "metadata"), f"{{{NAMESPACE}}}probe", nsmap={"vmrole": NAMESPACE})
    add(root, "memory", {"unit": "MiB"}, str(_MEMORY_MIB))
    add(add(root, "os"), "type", {"arch": "x86_64", "machine": "q35"}, "hvm")
    devices = add(root, "devices")
    add(devices, "emulator", text=str(EMULATOR))
    add(devices, "controller", {"type": "usb", "model": "none"})
    add(devices, "memballoon", {"model": "none"})
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def main(uri: str) -> int:
    """Prints the rights as JSON; returns NO_ANSWER or NO_START, and says why, when there are none to be seen."""
    libvirt.registerErrorHandler(lambda *_: None, None)  # It would print each error.
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a program's own words
        return NO_ANSWER
    try:
        with contextlib.closing(connection), started(connection) as pid:
            print(json.dumps(dataclasses.asdict(of_process(pid))))  # noqa: T201
    except (libvirt.libvirtError, OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return NO_START
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
