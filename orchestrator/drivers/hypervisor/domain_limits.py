"""What a VM may take of its host, so that no neighbour notices it: in the domain, and of one that runs. Pure.

- CPUs are shared by weight, 100 for each vCPU: with the same weight for all, a VM of sixteen would get no more than
  one of one. Nothing is limited while nobody else wants it; `cpuLimit` is for who wants it so.
- Disks are throttled by QEMU itself, which needs nothing of the host. NVMe drives are not: QEMU's has no name by
  which libvirt could throttle it.
- Networks are limited on the host's side of the tap, which needs classes and policing of the kernel.

What a role does not say is far above what booting, setup and a busy service take, and far below what a host can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from lxml import etree

from orchestrator.drivers.hypervisor.domain_parts import MachineType, add
from orchestrator.model import Instance

WEIGHT_PER_VCPU: Final = 100
SHARES_LEAST: Final = 2  # The older control groups know no less, and libvirt refuses a VM that says so.
DISK_RATE_MIB_PER_S: Final = 400
DISK_OPERATIONS: Final = 10_000  # a second
NETWORK_RATE_MIB_PER_S: Final = 250  # each way: two Gbit/s
_PERIOD_US: Final = 100_000  # in which a vCPU has its quota; libvirt's default
_MIB, _KIB_PER_MIB = 1024 * 1024, 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The most that a VM may take, in the words of libvirt; None and empty where the host cannot limit it."""

    shares: int | None
    quota_us: int | None  # of each vCPU in a period; -1: no limit
    disk: Mapping[str, int]  # of each disk
    network_kib_per_s: int | None  # each way


def of(instance: Instance, machine: MachineType) -> Taken:
    """The limits of the instance on that kind of machine."""
    limits, size = instance.role.limits, instance.role.size
    rate_mib, operations = limits.disk_rate_mib_per_s, limits.disk_operations
    network_mib = limits.network_rate_mib_per_s or NETWORK_RATE_MIB_PER_S
    weight = max(limits.cpu_weight or WEIGHT_PER_VCPU * size.vcpus, SHARES_LEAST)
    percent = limits.cpu_limit_percent
    return Taken(
        shares=weight if machine.shares_cpus else None,
        quota_us=(-1 if percent is None else _PERIOD_US * percent // 100) if machine.shares_cpus else None,
        disk={
            "total_bytes_sec": (rate_mib or DISK_RATE_MIB_PER_S) * _MIB,
            "total_iops_sec": operations or DISK_OPERATIONS,
        },
        network_kib_per_s=network_mib * _KIB_PER_MIB if machine.shapes_traffic else None,
    )


def add_cpu(root: etree._Element, taken: Taken) -> None:
    """The share of the host's CPUs."""
    if taken.shares is None:
        return
    tune = add(root, "cputune")
    add(tune, "shares", text=str(taken.shares))
    if taken.quota_us is not None and taken.quota_us > 0:
        add(tune, "period", text=str(_PERIOD_US))
        add(tune, "quota", text=str(taken.quota_us))


def add_disk(disk: etree._Element, taken: Taken) -> None:
    """What one disk may do."""
    tune = add(disk, "iotune")
    for name, value in taken.disk.items():
        add(tune, name, text=str(value))


def add_network(nic: etree._Element, taken: Taken) -> None:
    """What the interface may carry."""
    if taken.network_kib_per_s is not None:
        bandwidth = add(nic, "bandwidth")
        for way in ("inbound", "outbound"):
            add(bandwidth, way, {"average": str(taken.network_kib_per_s)})


def scheduler(taken: Taken) -> Mapping[str, int]:
    """As `setSchedulerParametersFlags` takes it; empty when there is nothing to set."""
    if taken.shares is None or taken.quota_us is None:
        return {}
    return {"cpu_shares": taken.shares, "vcpu_period": _PERIOD_US, "vcpu_quota": taken.quota_us}


def interface(taken: Taken) -> Mapping[str, int]:
    """As `setInterfaceParameters` takes it; empty when there is nothing to set."""
    if taken.network_kib_per_s is None:
        return {}
    return {"inbound.average": taken.network_kib_per_s, "outbound.average": taken.network_kib_per_s}
