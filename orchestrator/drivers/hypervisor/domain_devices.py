"""The devices of a domain. Pure, like `domain_xml`.

- Disks hang on the bus that the image has a driver for, a Windows's local storage as well, but on SATA instead of
  NVMe; a guest finds its local storage by the serial, a Linux by that of a virtio disk. virtio disks are vda, vdb, …;
  on SATA they come after the answer disc.
- The answer disc of a Linux guest is on the bus of its system disk, for an initramfs may hold no other driver, and
  cloud-init looks before the others are loaded: a disk that cannot be written to, the last of all, so that nothing
  moves when it goes; on SATA a CD. Of a Windows it is a CD on SATA always: Setup has no other driver.
- NVMe: libvirt has no such target bus. The disk is a virtio one whose QEMU device is replaced by way of
  `qemu:override`, so that files, locks and labels stay libvirt's. NVMe cannot pause the guest when the host's disk is
  full (it has no werror): there the guest gets the error.
- Disks name their whole backing chain, so that neither libvirt nor a confinement profile has to guess it from bytes
  that a guest wrote. Image locking stays on, which is QEMU's default.
- libvirt gives a VM's files to QEMU's user, and would give it the image as well: who owns a file may change its mode,
  and then its bytes, under every other VM. So the image keeps its owner; its mode lets everybody read it. So does a
  checkpoint's layer.
- Windows gets a screen, which Setup draws on, and nobody to look at it unless its role asks for that. VNC has no port
  and no password: who may open the socket is the host's file system's to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from lxml import etree

from orchestrator.drivers.hypervisor import domain_limits
from orchestrator.drivers.hypervisor.domain_board import has_hyperv
from orchestrator.drivers.hypervisor.domain_limits import Taken
from orchestrator.drivers.hypervisor.domain_parts import QEMU, DomainPaths, MachineType, add
from orchestrator.drivers.tools import untrusted_xml
from orchestrator.model import DiskBus, Instance, Os
from orchestrator.model.drive import BARE, MOUNTED

AGENT_CHANNEL: Final = "org.qemu.guest_agent.0"
RUNTIME_CHANNEL: Final = "com.vmrole.guest.0"
DISC_TARGET: Final = "sda"
ANSWER_SERIAL: Final = "answers"  # of the answer disc where it is a disk; local storage's begin with "ls-"
ANSWER_ALIAS: Final = "ua-answers"
_RNG_BYTES_PER_S = 65536  # A booting guest wants some hundred bytes; a hostile one must not keep a core busy.
_ALIAS: Final = "ua-disk"  # libvirt keeps aliases of this prefix as they are
_LETTERS = 26


def add_disks(devices: etree._Element, instance: Instance, paths: DomainPaths, limits: Taken) -> None:
    """The system disk, then local storage and drives."""
    bus = instance.role.hardware.disk_bus
    disk = _disk(devices, "qcow2", paths.overlay, instance)
    disk.append(_chain(paths))
    _hang(disk, bus, 0)
    if bus is not DiskBus.NVME:
        domain_limits.add_disk(disk, limits)
    if bus is DiskBus.NVME:
        add(disk, "serial", text="system")  # An NVMe drive must have one.
    add(disk, "boot", {"order": "1"})
    serials = [(f"{MOUNTED}{name}", path) for name, path in paths.local_storage.items()]
    serials += [(f"{BARE}{name}", path) for name, path in paths.bare.items()]
    for number, (serial, path) in enumerate(serials, start=1):
        target = _target(_storage_bus(instance), number)
        _add_storage(devices, instance, target, path, serial, limits)


def _add_storage(
    devices: etree._Element, instance: Instance, target: str, path: Path, serial: str, limits: Taken
) -> etree._Element:
    bus = _storage_bus(instance)
    disk = _disk(
        devices, "raw", path, instance
    )  # A guest writes every byte of it: nothing of it is ever interpreted.
    add(disk, "target", {"dev": target, "bus": "sata" if bus is DiskBus.SATA else "virtio"})
    if bus is not DiskBus.NVME:
        domain_limits.add_disk(disk, limits)
    add(disk, "serial", text=serial)  # All three buses pass on 20 bytes; a name has at most 16.
    return disk


def plugged_disk(domain_xml: str, instance: Instance, path: Path, serial: str, limits: Taken) -> str:
    """A disk beside those of a domain as libvirt describes it, as `attachDeviceFlags` takes it; "" where the bus of
    the instance's disks takes none from a VM that runs, or gives none back.
    """
    bus = _storage_bus(instance)
    if bus is not DiskBus.VIRTIO:
        return ""
    taken = set(cast("list[str]", untrusted_xml.parsed(domain_xml).xpath("devices/disk/target/@dev")))
    target = next(each for number in itertools.count(1) if (each := _target(bus, number)) not in taken)
    disk = _add_storage(etree.Element("devices"), instance, target, path, serial, limits)
    return etree.tostring(disk, encoding="unicode")


def disk_of(domain_xml: str, file: str) -> str:
    """The disk with that file of a domain as libvirt describes it; "" when it has none."""
    found = cast(
        "list[etree._Element]", untrusted_xml.parsed(domain_xml).xpath("devices/disk[source/@file=$file]", file=file)
    )
    return etree.tostring(found[0], encoding="unicode") if found else ""


def serials(domain_xml: str) -> frozenset[str]:
    """The serial numbers of the disks, that of the system and the answer disc apart, of such a domain."""
    found = untrusted_xml.parsed(domain_xml).xpath("devices/disk[@device='disk'][not(boot)]/serial/text()")
    return frozenset(cast("list[str]", found)) - {ANSWER_SERIAL}


def other_disks(domain_xml: str) -> list[str]:
    """The targets of the disks, that of the system apart, of a domain as libvirt describes it."""
    disks = untrusted_xml.parsed(domain_xml).xpath("devices/disk[@device='disk'][not(boot)]/target/@dev")
    return cast("list[str]", disks)


def lay_below(disk: etree._Element, paths: DomainPaths) -> None:
    """Gives the system disk of a domain as libvirt describes it another overlay, on another chain."""
    source, chain = disk.find("source"), disk.find("backingStore")
    assert source is not None, paths.overlay
    source.set("file", str(paths.overlay))
    source.attrib.pop("index", "")
    if chain is not None:
        disk.remove(chain)
    source.addnext(_chain(paths))


def _chain(paths: DomainPaths) -> etree._Element:
    """What lies below the overlay: a checkpoint's layer, where there is one, and the image."""
    image = _below(paths.image_format.value, paths.image)
    add(image, "backingStore")  # An empty one says that the chain ends here.
    if paths.layer is None:
        return image
    layer = _below("qcow2", paths.layer)
    layer.append(image)
    return layer


def _below(disk_format: str, path: Path) -> etree._Element:
    base = etree.Element("backingStore", {"type": "file"})
    add(base, "format", {"type": disk_format})
    source = add(base, "source", {"file": str(path)})
    add(source, "seclabel", {"model": "dac", "relabel": "no"})
    return base


def add_disc(devices: etree._Element, instance: Instance, path: Path | None) -> None:
    """The answer disc: in a drive, which is there without it as well, or as a disk, which is not."""
    bus = _answer_bus(instance)
    if bus is None:
        devices.append(_disc(path, "sata"))
    elif path is not None:
        disk = add(devices, "disk", {"type": "file", "device": "disk"})
        add(disk, "driver", {"name": "qemu", "type": "raw"})
        add(disk, "source", {"file": str(path)})
        add(
            disk,
            "target",
            {"dev": _target(bus, 1 + len(instance.disks_of_role) + len(instance.goal.attached)), "bus": "virtio"},
        )
        add(disk, "readonly")
        add(disk, "serial", text=ANSWER_SERIAL)
        add(disk, "alias", {"name": ANSWER_ALIAS})


def limited_disks(instance: Instance) -> tuple[str, ...]:
    """The targets of the disks that can be limited, as `add_disks` names them. What is attached by hand keeps the
    limits that it came with.
    """
    buses = (instance.role.hardware.disk_bus, *(_storage_bus(instance) for _ in instance.disks_of_role))
    return tuple(_target(bus, number) for number, bus in enumerate(buses) if bus is not DiskBus.NVME)


def empty_drive(domain_xml: str) -> str:
    """The answer drive of that domain without a disc, as `updateDeviceFlags` takes it; "" when it has no drive."""
    bus = _drive(domain_xml, "target/@bus")
    return etree.tostring(_disc(None, bus), encoding="unicode") if bus else ""


def disc_of(domain_xml: str) -> str:
    """The path of the answer disc of a domain as libvirt describes it, in a drive or as a disk; "" for none."""
    return _drive(domain_xml, "source/@file") or answer_disk_of(domain_xml)


def answer_disk_of(domain_xml: str) -> str:
    """The path of the answer disc that such a domain has as a disk; "" for none."""
    found = untrusted_xml.parsed(domain_xml).xpath(
        "string(devices/disk[serial=$serial]/source/@file)", serial=ANSWER_SERIAL
    )
    return str(cast("str", found))


def add_network(devices: etree._Element, instance: Instance, limits: Taken) -> None:
    """The interface in the private network and, behind it, that on a bridge of the host's, on taps that we name."""
    lan, mtu = instance.lan, instance.role.network.mtu
    source, own = {"network": instance.network}, instance.nic
    _add_card(devices, "network", source, (own.mac, own.tap), None if lan else mtu, limits)
    if lan is not None:
        _add_card(devices, "bridge", {"bridge": lan.bridge}, (lan.mac, lan.tap), lan.mtu, limits)


def _add_card(
    devices: etree._Element, kind: str, source: dict[str, str], card: tuple[str, str], mtu: int | None, limits: Taken
) -> None:
    """`card`: its MAC and its tap."""
    nic = add(devices, "interface", {"type": kind})
    add(nic, "mac", {"address": card[0]})
    add(nic, "source", source)
    add(nic, "target", {"dev": card[1]})
    add(nic, "model", {"type": "virtio"})
    if mtu is not None:
        add(nic, "mtu", {"size": str(mtu)})  # The guest's driver is told of it.
    domain_limits.add_network(nic, limits)
    add(nic, "rom", {"enabled": "no"})  # We never boot from the network; the ROM costs time at each start.


def add_shares(devices: etree._Element, instance: Instance, server: Path) -> None:
    """Directories of the host's. `server` is what has them served, read-only: see `sharing`."""
    for share in instance.role.shares:
        shared = add(devices, "filesystem", {"type": "mount", "accessmode": "passthrough"})
        add(shared, "driver", {"type": "virtiofs"})
        add(shared, "binary", {"path": str(server)})
        add(shared, "source", {"dir": share.source})
        add(shared, "target", {"dir": share.name})


def add_small_devices(devices: etree._Element, instance: Instance, paths: DomainPaths, machine: MachineType) -> None:
    """Agent, runtime channel, console, screen, panic and random numbers."""
    channel = add(devices, "channel", {"type": "unix"})
    add(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})
    _add_runtime_channel(devices, paths.channel)
    serial = add(devices, "serial", {"type": "pty"})
    add(serial, "log", {"file": str(paths.console), "append": "on"})
    add(serial, "target", {"port": "0"})
    console = add(devices, "console", {"type": "pty"})
    add(console, "target", {"type": "serial", "port": "0"})
    add(devices, "controller", {"type": "usb", "model": "none"})
    add(devices, "memballoon", {"model": "none"})
    if instance.role.devices.screen:
        # The socket is libvirt's: in a directory of this VM's own, where root and QEMU's user alone come to.
        add(add(devices, "graphics", {"type": "vnc"}), "listen", {"type": "socket"})
    if instance.role.os is Os.WINDOWS or instance.role.devices.screen:
        add(add(devices, "video"), "model", {"type": "vga"})
    if instance.role.os is Os.WINDOWS and has_hyperv(machine):
        add(devices, "panic", {"model": "hyperv"})  # Needs no driver in the guest, but Hyper-V's interfaces.
    add(devices, "panic", {"model": "isa"})
    rng = add(devices, "rng", {"model": "virtio"})
    add(rng, "rate", {"bytes": str(_RNG_BYTES_PER_S), "period": "1000"})
    add(rng, "backend", {"model": "random"}, "/dev/urandom")


def _add_runtime_channel(devices: etree._Element, path: Path) -> None:
    """Its QEMU brings it to our socket, and comes again when it is hung up on, also where it goes on from a memory.

    All VMs come to the one socket: it is not given to the user of the first that does.
    """
    channel = add(devices, "channel", {"type": "unix"})
    source = add(channel, "source", {"mode": "connect", "path": str(path)})
    add(source, "reconnect", {"enabled": "yes", "timeout": "1"})
    add(source, "seclabel", {"model": "dac", "relabel": "no"})
    add(channel, "target", {"type": "virtio", "name": RUNTIME_CHANNEL})


def add_overrides(root: etree._Element, instance: Instance, paths: DomainPaths) -> None:
    """What only QEMU knows: an NVMe drive in the place of a virtio one."""
    if instance.role.hardware.disk_bus is not DiskBus.NVME:
        return
    override = add(root, f"{{{QEMU}}}override")
    of_answers = [ANSWER_ALIAS] if paths.disc is not None and _answer_bus(instance) is DiskBus.NVME else []
    for alias in (f"{_ALIAS}0", *of_answers):
        device = add(override, f"{{{QEMU}}}device", {"alias": alias})
        frontend = add(device, f"{{{QEMU}}}frontend")
        add(frontend, f"{{{QEMU}}}property", {"name": "driver", "type": "string", "value": "nvme"})
        for name in ("werror", "rerror"):
            add(frontend, f"{{{QEMU}}}property", {"name": name, "type": "remove"})


def _disk(devices: etree._Element, disk_format: str, path: Path, instance: Instance) -> etree._Element:
    disk = add(devices, "disk", {"type": "file", "device": "disk"})
    # A guest's flush reaches the disk with each cache that a role can have; a full file system pauses the guest
    # instead of failing its writes, so that nothing is lost.
    cache = instance.role.devices.disk_cache.value
    driver = {"name": "qemu", "type": disk_format, "cache": cache, "error_policy": "enospace"}
    add(disk, "driver", {**driver, "discard": "unmap", "detect_zeroes": "unmap"})
    add(disk, "source", {"file": str(path)})
    return disk


def _storage_bus(instance: Instance) -> DiskBus:
    """A Windows shows the serial numbers of NVMe drives in a form of its own; for SATA it always has a driver."""
    bus = instance.role.hardware.disk_bus
    if instance.role.os is Os.LINUX:
        return DiskBus.VIRTIO
    return DiskBus.SATA if bus is DiskBus.NVME else bus


def _answer_bus(instance: Instance) -> DiskBus | None:
    """What the answer disc hangs on as a disk; None where it is a CD."""
    bus = instance.role.hardware.disk_bus
    return None if instance.role.os is Os.WINDOWS or bus is DiskBus.SATA else bus


def _hang(disk: etree._Element, bus: DiskBus, number: int) -> None:
    add(disk, "target", {"dev": _target(bus, number), "bus": "sata" if bus is DiskBus.SATA else "virtio"})
    if bus is DiskBus.NVME:
        add(disk, "alias", {"name": f"{_ALIAS}{number}"})


def _target(bus: DiskBus, number: int) -> str:
    return f"sd{_letters(number + 1)}" if bus is DiskBus.SATA else f"vd{_letters(number)}"


def _letters(number: int) -> str:
    """0 is "a", 25 is "z", 26 is "aa": how Linux and libvirt count disks."""
    return "".join(reversed(list(_letters_backwards(number))))


def _letters_backwards(number: int) -> Iterator[str]:
    while number >= 0:
        yield chr(ord("a") + number % _LETTERS)
        number = number // _LETTERS - 1


def _disc(path: Path | None, bus: str) -> etree._Element:
    disk = etree.Element("disk", {"type": "file", "device": "cdrom"})
    add(disk, "driver", {"name": "qemu", "type": "raw"})
    if path is not None:
        add(disk, "source", {"file": str(path)})
    add(disk, "target", {"dev": DISC_TARGET, "bus": bus})
    add(disk, "readonly")
    add(disk, "address", {"type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": "0"})
    return disk


def _drive(domain_xml: str, what: str) -> str:
    """A word from the answer drive of a domain as libvirt describes it; "" when it is not there."""
    found = untrusted_xml.parsed(domain_xml).xpath(
        f"string(devices/disk[@device='cdrom'][target/@dev=$target]/{what})", target=DISC_TARGET
    )
    return str(cast("str", found))
