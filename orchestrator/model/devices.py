"""What a role says of the machine around its guests, beside how much of the host they get."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

CPU_MODEL: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"  # as `virsh cpu-models x86_64` lists them


class DiskCache(enum.StrEnum):
    """How the host keeps what guests write. None of them loses what a guest has flushed."""

    WRITEBACK = "writeback"  # in the host's memory until the guest flushes
    WRITETHROUGH = "writethrough"  # on the host's disk before the guest goes on, and in its memory for reading
    NONE = "none"  # past the host's memory; in that of the drive until the guest flushes
    DIRECTSYNC = "directsync"  # past the host's memory, and on the drive before the guest goes on


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The machine that a VM is, where it is another than usual."""

    cpu_model: str = ""  # as libvirt calls it; "": the host's own, or all that TCG can do
    sockets: int | None = None  # None of all three: as usual for the guest's system
    cores: int | None = None  # of each socket
    threads: int | None = None  # of each core
    disk_cache: DiskCache = DiskCache.WRITEBACK  # of all its disks
    screen: bool = False  # whether it has one that VNC shows, to root on its host
    hugepages: bool = False  # whether its memory is of pages that the host's owner has reserved
    pci: tuple[str, ...] = ()  # devices of the host that each instance has to itself, as `model.pci` names them

    def topology(self, vcpus: int) -> tuple[int, int, int] | None:
        """Sockets, cores of each, threads of each core, for so many vCPUs; None where the role says nothing of it.

        What it leaves open comes to as many as there are vCPUs, by cores; their product is `vcpus` in what was read.
        """
        if self.sockets is self.cores is self.threads is None:
            return None
        sockets, threads = self.sockets or 1, self.threads or 1
        return sockets, self.cores or max(vcpus // (sockets * threads), 1), threads
