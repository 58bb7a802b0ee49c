"""How much of this host is promised: disks as large as they may become, and connections that its guests may open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.network.connection_limits import FLOWS_MAX
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ImageRejected
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


def disks(settings: Config) -> Check:
    """All disks together, as large as they may become, against the room that there is for them."""
    name, most = "disks", settings.disk_overcommit
    total = shutil.disk_usage(existing(settings.state_dir)).total - settings.disk_reserve_mib * _MIB
    sizes = list(_virtual_sizes(Layout(settings.state_dir, settings.run_dir)))
    if total <= 0:
        return fail(name, "disk_reserve_mib is all that the file system has", "make disk_reserve_mib smaller")
    ratio = sum(sizes) / total
    message = (
        f"{len(sizes)} disks of instances may grow to {sum(sizes) / _GIB:.1f} GiB, {ratio:.1f} times the room of "
        f"{total / _GIB:.1f} GiB; up to {most} times are promised (disk_overcommit)"
    )
    if ratio > most:
        hint = "nothing more is promised until it is less: a larger file system, smaller disks, or fewer instances"
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
    for path in layout.storage.glob("*/*.raw"):
        try:
            yield path.stat().st_size
        except OSError:
            continue


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
