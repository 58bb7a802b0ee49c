"""By which roads reimages can go here: what this host's QEMU gives away of a VM, and where it would be kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from orchestrator.drivers.disks import memory_place
from orchestrator.drivers.hypervisor import accelerator as accelerators
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.room import Room
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, existing, fail, ok, warn
from orchestrator.model import DiskBus, Firmware, Hardware, Road, Role
from orchestrator.rules import roads

ROADS, ROOM = "reimages", "checkpoints"
_MIB: Final = 1 << 20
_LEAST_MIB: Final = 256  # the memory of a small guest, and what it writes to its disk
_DEVICES: Final = {DiskBus.VIRTIO: "virtio-blk-pci", DiskBus.SATA: "ide-hd", DiskBus.NVME: "nvme,serial=doctor"}
_MACHINE: Final = ("-machine", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio")
_DISK: Final = ("-blockdev", "driver=null-co,node-name=disk,size=1048576,read-zeroes=on")
# What is in the way of a migration, which is how memory is saved. None is begun: QEMU may abort that is to quit then.
_ASKED: Final = ({"execute": "qmp_capabilities"}, {"execute": "query-migrate", "id": "blocked"}, {"execute": "quit"})
_SAID_MAX: Final = 120


def warmest(settings: Config) -> Check:
    """Asks QEMU itself for the memory of a machine with each kind of disk that a role may have."""
    del settings
    return judge({bus: _refusal(device) for bus, device in _DEVICES.items()})


def judge(refusals: Mapping[DiskBus, str]) -> Check:
    """Of why the memory of a VM with each kind of disk is not given away, "" where it is."""
    hardware = {f"with {bus} disks": Hardware(disk_bus=bus) for bus in refusals}
    hardware |= {"of UEFI": Hardware(firmware=Firmware.UEFI), "with a TPM": Hardware(tpm=True)}
    by_road: dict[Road, list[str]] = {road: [] for road in Road}
    for name, of in hardware.items():
        road = _road(of)
        by_road[Road.PREPARED if road is Road.WARM and refusals[of.disk_bus] else road].append(name)
    told = "; ".join(f"{road} at most: {', '.join(by_road[road])}" for road in reversed(Road) if by_road[road])
    refused = [f"with {bus} disks ({why})" for bus, why in refusals.items() if why]
    told = f"of guests, by their hardware, {told}"
    told += f"; this QEMU does not save those {', '.join(refused)}" if refused else ""
    if refusals[DiskBus.VIRTIO]:
        return warn(ROADS, told, "warm roles are booted instead: use another QEMU for them")
    return ok(ROADS, told)


def _road(hardware: Hardware) -> Road:
    """The warmest that reimages of such a machine take."""
    role = Role(name="doctor", image="doctor", image_sha256="0" * 64, reimage=Road.WARM, hardware=hardware)
    if roads.keeps_memory(role):
        return Road.WARM
    return Road.PREPARED if roads.keeps(role) else Road.COLD


def _refusal(device: str) -> str:
    """In QEMU's words (`blocked-reasons` of query-migrate, since QEMU 6.0)."""
    argv = (str(accelerators.EMULATOR), *_MACHINE, *_DISK, "-device", f"{device},drive=disk")
    said = run(argv, stdin="".join(f"{json.dumps(one)}\n" for one in _ASKED))
    answers = [json.loads(line) for line in said.splitlines()]
    info = next(one["return"] for one in answers if one.get("id") == "blocked")
    return "; ".join(info.get("blocked-reasons", ()))[:_SAID_MAX]


def room(settings: Config) -> Check:
    """There is room for what is kept of instances, on disk and, for roles that ask for it, in RAM."""
    free_mib = Room(existing(settings.state_dir), settings.disk_reserve_mib * _MIB).free_bytes() // _MIB
    layout = Layout(settings.state_dir, settings.run_dir, settings.checkpoint_memory_dir)
    return judge_room(free_mib, memory_place.room_bytes(layout) // _MIB, memory_place.fault(layout), str(layout.shm))


def judge_room(free_mib: int, ram_mib: int, fault: str, place: str) -> Check:
    """Of so much that is free for disks and memories, and in RAM; `fault`: why nothing is kept there."""
    told = f"{free_mib} MiB are free for disks and memories that are kept"
    if free_mib < _LEAST_MIB:
        return fail(
            ROOM, told, "make room in the state directory, or lower disk_reserve_mib: nothing is kept until then"
        )
    if fault:
        return warn(ROOM, f"{told}, and none in RAM: {fault}", "name another tmpfs: checkpoint_memory_dir")
    return ok(ROOM, f"{told}, and {ram_mib} MiB in {place} for roles with checkpoint: {{memory: true}}")
