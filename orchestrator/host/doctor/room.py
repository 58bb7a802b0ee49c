"""How much of this host is promised: disks as large as they may become, connections that its guests may open, and
memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.disks.blobs import used_bytes
from orchestrator.drivers.hypervisor import host_devices
from orchestrator.drivers.network.connection_limits import FLOWS_MAX
from orchestrator.drivers.tools.host_memory import memory_bytes
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ImageRejected, Transient
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, existing, fail, ok, warn
from orchestrator.imagefiles import qcow2
from orchestrator.imagefiles.reading import Source
from orchestrator.model import TAP_PREFIX

_GIB, _MIB = 1 << 30, 1 << 20
_LINKS: Final = Path("/sys/class/net")
_CONNECTIONS_MAX: Final = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_GUESTS_PART: Final = 0.75  # of the host's table of connections; the rest is for clients of VIPs and the host itself
_CONNECTION_BYTES: Final = 320  # struct nf_conn and its extensions
_INSTANCE_LEAST_MIB, _INSTANCE_MIB = 128, 512  # the smallest that the micro image boots in, and the default size
_MEMORY: Final = Path("/proc/meminfo")
_KSM: Final = Path("/sys/kernel/mm/ksm")  # keeps once what pages of guests have alike; of some kernels there is none


def disks(settings: Config) -> Check:
    """All disks together, as large as they may become, against the room that there is for them."""
    name, most = "disks", settings.disk_overcommit
    total = shutil.disk_usage(existing(settings.state_dir)).total - settings.disk_reserve_mib * _MIB
    layout = Layout(settings.state_dir, settings.run_dir)
    sizes, drives = list(_virtual_sizes(layout)), list(_lengths(layout.drives.glob("*/disk.raw")))
    blobs = _blobs_bytes(layout)
    promised = sum(sizes) + sum(drives) + blobs
    if total <= 0:
        return fail(name, "disk_reserve_mib is all that the file system has", "make disk_reserve_mib smaller")
    ratio = promised / total
    message = (
        f"{len(sizes)} disks of instances and {len(drives)} drives may grow to {(promised - blobs) / _GIB:.1f} GiB, "
        f"blobs have {blobs / _GIB:.1f} GiB: {ratio:.1f} times the room of {total / _GIB:.1f} GiB; up to {most} "
        "times are promised (disk_overcommit)"
    )
    if ratio > most:
        hint = "nothing more is promised until it is less: a larger file system, or fewer instances, drives or blobs"
        return warn(name, message, hint)
    return ok(name, message)


def _virtual_sizes(layout: Layout) -> Iterator[int]:
    """Bytes; what cannot be read by us, or goes meanwhile, is left out."""
    for path in layout.overlays.glob("*/*.qcow2"):
        try:
            with path.open("rb") as file:
                yield qcow2.virtual_size_bytes(Source(file))
        except (OSError, ImageRejected):
            continue
    yield from _lengths(layout.storage.glob("*/*.raw"))


def _lengths(paths: Iterable[Path]) -> Iterator[int]:
    """The same, of files that are as long as what is in them may become."""
    for path in paths:
        try:
            yield path.stat().st_size
        except OSError:
            continue


def _blobs_bytes(layout: Layout) -> int:
    """What they have by now: it is that which is counted where disks are promised."""
    try:
        return used_bytes(layout)
    except Transient:
        return 0


def connections(settings: Config) -> Check:
    """The host's table of connections has room for all that its guests may open, and for others."""
    del settings
    try:
        most = int(_CONNECTIONS_MAX.read_text())
    except (OSError, ValueError):
        return ok("connections", "the kernel has no table of connections yet")
    return judge_connections(len(list(_LINKS.glob(f"{TAP_PREFIX}*"))), most)


def judge_connections(guests: int, most: int) -> Check:
    """Of so many guests that run, and a table of so many entries."""
    fits = int(most * _GUESTS_PART) // FLOWS_MAX
    message = f"{guests} guests run; the host's table has room for {fits} of {FLOWS_MAX} connections each"
    if guests <= fits:
        return ok("connections", message)
    need = int(guests * FLOWS_MAX / _GUESTS_PART)
    hint = f"sysctl -w net.netfilter.nf_conntrack_max={need} (up to {need * _CONNECTION_BYTES // _MIB} MiB of memory)"
    return warn("connections", f"{message}: together they can fill it", hint)


def memory(settings: Config) -> Check:
    """There is memory for at least one instance beside what is kept for the host, and for what is promised twice."""
    name, reserve = "memory", settings.memory_reserve_mib
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    total = memory_bytes() // _MIB
    left = total - reserve
    message = f"{max(left, 0)} MiB for instances ({total} MiB, less {reserve} MiB for the host)"
    if left < _INSTANCE_LEAST_MIB:
        return fail(name, message, "use a larger host, or a smaller memory_reserve_mib")
    if left < _INSTANCE_MIB:
        return warn(name, message, f"not even one instance of the default size ({_INSTANCE_MIB} MiB) fits")
    if settings.memory_overcommit_percent == 100:
        return ok(name, message)
    return judge_overcommit(message, settings.memory_overcommit_percent, left, _KSM, page_bytes, _swap_mib())


def judge_overcommit(message: str, percent: int, left_mib: int, ksm: Path, page_bytes: int, swap_mib: int) -> Check:
    """Of a host that promises `percent` of `left_mib`; `ksm` is the kernel's directory of that (ksm(7))."""
    more_mib = left_mib * percent // 100 - left_mib
    told = f"{message}, of which {percent} % are promised (memory_overcommit_percent)"
    try:
        merges = (ksm / "run").read_text().strip() == "1"
        saved_mib = int((ksm / "pages_sharing").read_text()) * page_bytes // _MIB
    except (OSError, ValueError):
        merges, saved_mib = False, 0
    told += f"; KSM is {f'on and saves {saved_mib} MiB' if merges else 'off'}, swap has {swap_mib} MiB"
    if merges or swap_mib >= more_mib:
        return ok("memory", told)
    hint = f"echo 1 > {ksm}/run, or {more_mib} MiB of swap; or promise less"
    return warn("memory", f"{told}: when guests use what they were promised the kernel ends one", hint)


def huge_pages(settings: Config) -> Check:
    """How much memory is reserved for roles that ask for huge pages; a host needs none for others."""
    del settings
    return judge_huge_pages(*host_devices.huge_pages())


def judge_huge_pages(pages: int, size_kib: int) -> Check:
    """Of so many that are reserved, of that size."""
    if not pages:
        return ok("huge pages", "none are reserved: no role can say devices.hugepages (sysctl -w vm.nr_hugepages=…)")
    reserved_mib = pages * size_kib // 1024
    return ok("huge pages", f"{pages} of {size_kib} KiB are reserved: {reserved_mib} MiB for roles that ask for them")


def _swap_mib() -> int:
    """All of it, used or not; proc(5)."""
    lines = _MEMORY.read_text().splitlines() if _MEMORY.exists() else []
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("SwapTotal:"))
