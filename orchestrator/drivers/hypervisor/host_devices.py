"""What this host has of the machines that roles ask for: models of processors, huge pages, files past its memory."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools import untrusted_xml
from orchestrator.errors import Problem
from orchestrator.model import DiskCache, Role

MEMORY: Final = Path("/proc/meminfo")
MOUNTS: Final = Path("/proc/mounts")
_KIB_PER_MIB: Final = 1024
_PAST_MEMORY: Final = (DiskCache.NONE, DiskCache.DIRECTSYNC)


def huge_pages(memory: Path = MEMORY) -> tuple[int, int]:
    """How many pages of the usual size of huge ones are reserved, used or not, and that size in KiB; (0, 0) where the
    kernel has none. See proc(5).
    """
    told = memory.read_text()
    found = [re.search(rf"^{name}:\s+(\d+)", told, re.MULTILINE) for name in ("HugePages_Total", "Hugepagesize")]
    pages, size_kib = (int(each[1]) if each is not None else 0 for each in found)
    return (pages, size_kib) if size_kib else (0, 0)


def huge_pages_mib(memory: Path = MEMORY) -> int:
    """The memory of all huge pages that are reserved."""
    pages, size_kib = huge_pages(memory)
    return pages * size_kib // _KIB_PER_MIB


def cpu_models(capabilities: str) -> frozenset[str]:
    """The models that libvirt's domain capabilities call usable."""
    models = untrusted_xml.parsed(capabilities).iterfind("cpu/mode[@name='custom']/model[@usable='yes']")
    return frozenset(model.text or "" for model in models)


def hugepages_fault(role: Role, memory: Path = MEMORY, mounts: Path = MOUNTS) -> Problem | None:
    """Why the host has no huge pages for one instance of the role. How many it has for all is a quota's to say."""
    if not role.devices.hugepages:
        return None
    pages, size_kib = huge_pages(memory)
    if not pages:
        need = -(-role.size.memory_mib * _KIB_PER_MIB // (size_kib or 2048))
        told = "this host has reserved no huge pages"
        return Problem(told, key="devices.hugepages", hint=f"run: sysctl -w vm.nr_hugepages={need}, or leave it out")
    if role.size.memory_mib * _KIB_PER_MIB % size_kib:
        told = f"{role.size.memory_mib} MiB are no whole number of this host's huge pages of {size_kib} KiB"
        return Problem(told, key="devices.hugepages", hint="give size.memory a multiple of that, or leave it out")
    if not re.search(r"^\S+ \S+ hugetlbfs ", mounts.read_text(), re.MULTILINE):
        hint = "run: mount -t hugetlbfs hugetlbfs /dev/hugepages, and restart libvirtd; or leave it out"
        return Problem(
            "no hugetlbfs is mounted on this host, by which QEMU has them", key="devices.hugepages", hint=hint
        )
    return None


def cache_fault(role: Role, place: Path) -> Problem | None:
    """Why no file below `place` is written past the host's memory."""
    if role.devices.disk_cache not in _PAST_MEMORY:
        return None
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o600))
    except OSError as error:
        told = f"the file system of {place} does not do it: {error.strerror}"
        return Problem(told, key="devices.diskCache", hint=f"use {DiskCache.WRITEBACK} or {DiskCache.WRITETHROUGH}")
    return None


def model_fault(role: Role, usable: Collection[str]) -> Problem | None:
    """Why guests here cannot have that processor."""
    model = role.devices.cpu_model
    if not model or model in usable:
        return None
    told = f"guests of this host cannot have a processor {model}"
    return Problem(told, key="devices.cpuModel", hint=f"use one of: {', '.join(sorted(usable)) or 'none'}")
