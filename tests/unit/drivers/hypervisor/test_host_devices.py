"""What a host has of the machines that roles ask for, read from what its kernel and libvirt say."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import host_devices
from orchestrator.model import Devices, DiskCache, Role, Size
from tests.world.fabric import web_role

HUGE = Devices(hugepages=True)
CAPABILITIES = """<domainCapabilities><cpu>
  <mode name='host-model' supported='yes'><model fallback='forbid'>Broadwell</model></mode>
  <mode name='custom' supported='yes'>
    <model usable='yes'>Nehalem</model><model usable='no'>EPYC</model><model usable='yes'>qemu64</model>
  </mode>
</cpu></domainCapabilities>"""


def memory(tmp_path: Path, pages: int, size_kib: int = 2048) -> Path:
    """What such a kernel says of its memory."""
    told = tmp_path / "meminfo"
    told.write_text(
        f"MemTotal: 9 kB\nAnonHugePages: 7 kB\nHugePages_Total:   {pages}\nHugePages_Free: 0\n"
        f"Hugepagesize:       {size_kib} kB\nHugetlb: 5 kB\n"
    )
    return told


def mounts(tmp_path: Path, kind: str = "hugetlbfs") -> Path:
    """A host on which that is mounted."""
    told = tmp_path / "mounts"
    told.write_text(f"proc /proc proc rw 0 0\nx /dev/hugepages {kind} rw,pagesize=2M 0 0\n")
    return told


def role(devices: Devices, memory_mib: int = 128) -> Role:
    """One that wants them."""
    return web_role(devices=devices, size=Size(memory_mib=memory_mib))


def test_reserved_pages_are_memory(tmp_path: Path) -> None:
    """Used or not; a kernel without any has none."""
    assert host_devices.huge_pages_mib(memory(tmp_path, 64)) == 128
    assert host_devices.huge_pages_mib(memory(tmp_path, 3, 1048576)) == 3072
    (bare := tmp_path / "bare").write_text("MemTotal: 9 kB\n")
    assert host_devices.huge_pages(bare) == (0, 0)


@pytest.mark.parametrize(
    ("pages", "size_kib", "mounted", "memory_mib", "told", "hint"),
    [
        (64, 2048, "hugetlbfs", 128, "", ""),
        (0, 2048, "hugetlbfs", 129, "has reserved no huge pages", "vm.nr_hugepages=65"),
        (9, 1048576, "hugetlbfs", 1536, "1536 MiB are no whole number", "a multiple"),
        (64, 2048, "hugetlbfs", 129, "129 MiB are no whole number of this host's huge pages of 2048 KiB", "multiple"),
        (64, 2048, "tmpfs", 128, "no hugetlbfs is mounted", "mount -t hugetlbfs"),
    ],
)
def test_why_there_are_no_huge_pages(
    tmp_path: Path, pages: int, size_kib: int, mounted: str, memory_mib: int, told: str, hint: str
) -> None:
    """The remedy is a command, where there is one; who asks for none is told nothing."""
    host = (memory(tmp_path, pages, size_kib), mounts(tmp_path, mounted))
    fault = host_devices.hugepages_fault(role(HUGE, memory_mib), *host)
    assert (fault is None) is (not told)
    if fault is not None:
        assert fault.key == "devices.hugepages"
        assert told in fault.message
        assert hint in fault.hint
    assert host_devices.hugepages_fault(role(Devices(), memory_mib), *host) is None


def test_models_are_those_that_are_usable() -> None:
    """And no other, whatever else libvirt knows."""
    usable = host_devices.cpu_models(CAPABILITIES)
    assert usable == {"Nehalem", "qemu64"}
    assert host_devices.model_fault(role(Devices(cpu_model="Nehalem")), usable) is None
    assert host_devices.model_fault(role(Devices()), ()) is None
    for model in ("EPYC", "Broadwell", "nehalem"):
        fault = host_devices.model_fault(role(Devices(cpu_model=model)), usable)
        assert fault is not None
        assert (fault.key, fault.hint) == ("devices.cpuModel", "use one of: Nehalem, qemu64")


@pytest.mark.parametrize("cache", DiskCache)
def test_a_file_system_is_tried(cache: DiskCache, tmp_path: Path) -> None:
    """By a file that nobody sees, and only for who would have files written past the host's memory."""
    past = cache in (DiskCache.NONE, DiskCache.DIRECTSYNC)
    fault = host_devices.cache_fault(role(Devices(disk_cache=cache)), Path("/proc"))
    assert (fault is not None) is past
    if fault is not None:
        assert (fault.key, fault.hint) == ("devices.diskCache", "use writeback or writethrough")
    assert list(tmp_path.iterdir()) == []
