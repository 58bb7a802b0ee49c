"""`size:` of a role: how much of the host an instance gets, and the most that it may take of what all share."""

from __future__ import annotations

from typing import Final

from orchestrator.model import DiskBus, Image, Limits, Size
from orchestrator.servicefile.fields import integer, percent, rate_mib_per_s, size_mib
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import Map

_MIB: Final = 1024 * 1024
_DISK_MIB_MOST: Final = 64 * 1024 * 1024
_WEIGHT_MOST: Final = 10_000  # of a control group, cgroups(7)
_RATE_MIB_MOST: Final = 100 * 1024
_OF_DISKS: Final = ("diskRate", "diskOperations")
SIZE_KEYS: Final = ("vcpus", "memory", "disk", "cpuWeight", "cpuLimit", *_OF_DISKS, "networkRate")


def read_size(reader: Reader, node: Map, at: str) -> tuple[Size, Limits]:
    """What stands below `size` of the role `node`; faults are noted."""
    at = f"{at}.size"
    size = reader.keys(node.get("size", Map()), at, SIZE_KEYS)
    rate = rate_mib_per_s(1, _RATE_MIB_MOST)
    limits = Limits(
        cpu_weight=reader.take(size, at, "cpuWeight", integer(1, _WEIGHT_MOST), None),
        cpu_limit_percent=reader.take(size, at, "cpuLimit", percent(1, 100), None),
        disk_rate_mib_per_s=reader.take(size, at, "diskRate", rate, None),
        disk_operations=reader.take(size, at, "diskOperations", integer(10, 10_000_000), None),
        network_rate_mib_per_s=reader.take(size, at, "networkRate", rate, None),
    )
    return (
        Size(
            vcpus=reader.take(size, at, "vcpus", integer(1, 64), Size().vcpus),
            memory_mib=reader.take(size, at, "memory", size_mib(64, 1024 * 1024), Size().memory_mib),
            disk_mib=reader.take(size, at, "disk", size_mib(1, _DISK_MIB_MOST), None),
        ),
        limits,
    )


def check_rates(reader: Reader, node: Map, at: str, image: Image | None) -> None:
    """Notes what `size` of the role `node` limits and the drive that the image has cannot."""
    size = node.get("size")
    if image is None or image.hardware.disk_bus is not DiskBus.NVME or not isinstance(size, Map):
        return
    for key in _OF_DISKS:
        if key in size:
            told = "QEMU cannot throttle the NVMe drive that the image has"
            reader.fault(f"{at}.size.{key}", told, "leave it out")


def check_disk(reader: Reader, at: str, size: Size, image: Image | None) -> None:
    """Notes a system disk that is smaller than what is in it."""
    if size.disk_mib and image and size.disk_mib * _MIB < image.virtual_size_bytes:
        least = -(-image.virtual_size_bytes // _MIB)
        reader.fault(f"{at}.size.disk", f"is smaller than the image, which has {least} MiB", f"{least} MiB or more")
