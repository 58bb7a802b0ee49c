"""What a domain starts with and runs on: firmware, features, processor, clock, TPM. Pure, like `domain_xml`.

Decided by the image's hardware and, for Windows, by what its kernel wants of a hypervisor. What is decided, and why:

- Firmware is chosen by libvirt from the descriptions that the distribution ships (docs/interop/firmware.json of
  QEMU), because each puts the files elsewhere. For secure boot it has Microsoft's keys, and needs SMM. Without it, it
  has no keys, and is the plain one where there is one: distributions exist that ship only what could keep to keys.
- Variables of UEFI lie in a file per generation, and so does the TPM's state, which libvirt keeps by UUID: what the
  firmware or BitLocker remembers belongs to the machine that is thrown away.
- Hyper-V's interfaces make an idle Windows cost little and keep its timers right (QEMU, docs/system/i386/hyperv.rst).
  They are KVM's: TCG has none of them. QEMU does not start when one is missing, and there are kernels built without:
  there Windows gets those that libvirt says are left, and does without their clock and their way to tell of a crash.
- Windows takes the hardware clock for local time, catches up lost ticks of the RTC, and hates the HPET.
- One socket with many cores: a client edition uses two sockets at most. No suspend: nobody would wake it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lxml import etree

from orchestrator.drivers.hypervisor.domain_parts import Accelerator, MachineType, add
from orchestrator.drivers.tools import untrusted_xml
from orchestrator.model import Firmware, Instance, Os, Role

_TB_CACHE_MIB = 32  # QEMU's default of 1 GiB makes each VM 40 MiB bigger for no measured gain in speed.
_SPINLOCK_RETRIES = 8191  # before a guest says that it spins; the value that Hyper-V itself suggests
HYPERV: Final = ("relaxed", "vapic", "spinlocks", "vpindex", "runtime", "synic", "stimer", "frequencies")
_PLAIN_HYPERV: Final = HYPERV[:3]  # These depend on no other and on no clock.


def add_board(root: etree._Element, instance: Instance, machine: MachineType, nvram: Path | None) -> None:
    """`os`, `features`, `cpu`, `clock` and `pm`. `nvram` is where UEFI keeps its variables; None for a BIOS."""
    role = instance.role
    _firmware(root, role.hardware.firmware, machine, nvram)
    features = add(root, "features")
    add(features, "acpi")
    add(features, "apic")
    cpu = _cpu(root, features, role, machine)
    if _needs_smm(role.hardware.firmware, machine):
        add(features, "smm", {"state": "on"})
    _add_topology(cpu, role)
    match role.os:
        case Os.LINUX:
            add(root, "clock", {"offset": "utc"})
        case Os.WINDOWS:
            _for_windows(root, features, machine)


def add_tpm(devices: etree._Element, instance: Instance) -> None:
    """A TPM 2.0 of the instance's own, when its image asks for one."""
    if instance.role.hardware.tpm:
        tpm = add(devices, "tpm", {"model": "tpm-crb"})
        add(tpm, "backend", {"type": "emulator", "version": "2.0"})


def has_hyperv(machine: MachineType) -> bool:
    """Whether all of Hyper-V's interfaces that we want are there."""
    return _hyperv(machine) == HYPERV


def supported_hyperv(capabilities: str) -> frozenset[str] | None:
    """Which of Hyper-V's interfaces libvirt's domain capabilities name; None when this libvirt does not tell."""
    root = untrusted_xml.parsed(capabilities)
    told = root.find("features/hyperv")
    if told is None:
        return None
    return frozenset(value.text or "" for value in told.iterfind("enum[@name='features']/value"))


def _hyperv(machine: MachineType) -> tuple[str, ...]:
    if machine.accelerator is Accelerator.TCG:
        return ()
    if machine.hyperv is None or machine.hyperv.issuperset(HYPERV):
        return HYPERV
    return tuple(name for name in _PLAIN_HYPERV if name in machine.hyperv)


def _firmware(root: etree._Element, firmware: Firmware, machine: MachineType, nvram: Path | None) -> None:
    board = {"arch": machine.arch, "machine": machine.machine}
    match firmware:
        case Firmware.BIOS:
            os = add(root, "os")
            add(os, "type", board, "hvm")
            add(os, "bios", {"useserial": "no"})
            return
        case Firmware.UEFI:
            secure = "no"
        case Firmware.SECURE_BOOT:
            secure = "yes"
    os = add(root, "os", {"firmware": "efi"})
    add(os, "type", board, "hvm")
    wanted = add(os, "firmware")
    add(wanted, "feature", {"enabled": secure, "name": "enrolled-keys"})
    if firmware is Firmware.SECURE_BOOT or not machine.secure_uefi_alone:
        add(wanted, "feature", {"enabled": secure, "name": "secure-boot"})
    add(os, "nvram", text=str(nvram))


def _needs_smm(firmware: Firmware, machine: MachineType) -> bool:
    """Of firmware that can keep to keys the variables are out of the guest's reach by it."""
    return firmware is Firmware.SECURE_BOOT or (firmware is Firmware.UEFI and machine.secure_uefi_alone)


def add_memory(root: etree._Element, instance: Instance) -> None:
    """Of what the guest's memory is made, where that is other than usual."""
    role = instance.role
    if not (role.devices.hugepages or role.shares):
        return
    backing = add(root, "memoryBacking")
    if role.devices.hugepages:
        add(backing, "hugepages")
    if role.shares:  # virtiofsd reads and writes it as QEMU does, and nobody else: it is no file that has a name.
        add(backing, "source", {"type": "memfd"})
        add(backing, "access", {"mode": "shared"})


def _add_topology(cpu: etree._Element, role: Role) -> None:
    usual = (1, role.size.vcpus, 1) if role.os is Os.WINDOWS else None
    parts = role.devices.topology(role.size.vcpus) or usual
    if parts is not None:
        add(cpu, "topology", dict(zip(("sockets", "cores", "threads"), map(str, parts), strict=True)))


def _cpu(root: etree._Element, features: etree._Element, role: Role, machine: MachineType) -> etree._Element:
    if machine.accelerator is Accelerator.TCG:
        add(add(features, "tcg"), "tb-cache", {"unit": "MiB"}, str(_TB_CACHE_MIB))
    if role.devices.cpu_model:
        # libvirt holds KVM to the whole model before a start; TCG leaves out what it cannot do.
        check = "partial" if machine.accelerator is Accelerator.KVM else "none"
        cpu = add(root, "cpu", {"mode": "custom", "match": "exact", "check": check})
        add(cpu, "model", {"fallback": "forbid"}, role.devices.cpu_model)
        return cpu
    match machine.accelerator:
        case Accelerator.KVM:
            return add(root, "cpu", {"mode": "host-passthrough", "check": "none", "migratable": "on"})
        case Accelerator.TCG:
            return add(root, "cpu", {"mode": "maximum"})


def _for_windows(root: etree._Element, features: etree._Element, machine: MachineType) -> None:
    clock = add(root, "clock", {"offset": "localtime"})
    add(clock, "timer", {"name": "rtc", "tickpolicy": "catchup"})
    add(clock, "timer", {"name": "pit", "tickpolicy": "delay"})
    add(clock, "timer", {"name": "hpet", "present": "no"})
    if has_hyperv(machine):
        add(clock, "timer", {"name": "hypervclock", "present": "yes"})
    if wanted := _hyperv(machine):
        hyperv = add(features, "hyperv", {"mode": "custom"})
        for name in wanted:
            retries = {"retries": str(_SPINLOCK_RETRIES)} if name == "spinlocks" else {}
            add(hyperv, name, {"state": "on", **retries})
    sleep = add(root, "pm")
    add(sleep, "suspend-to-mem", {"enabled": "no"})
    add(sleep, "suspend-to-disk", {"enabled": "no"})
