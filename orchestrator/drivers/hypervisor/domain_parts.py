"""What the modules of the domain's XML share: the kind of machine, where its files lie, how an element is made."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lxml import etree

from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import DiskFormat, Firmware, Instance

QEMU: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
PID_FILES: Final = Path("/run/libvirt/qemu")  # root's: libvirt writes down there which process it started


class Accelerator(enum.StrEnum):
    """What runs the guest's code."""

    KVM = "kvm"
    TCG = "tcg"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MachineType:
    """The kind of machine that all guests of this host get."""

    accelerator: Accelerator
    machine: str = "q35"
    emulator: str = "/usr/bin/qemu-system-x86_64"
    arch: str = "x86_64"
    installation: str = ""  # whose VMs they are; "" for nobody's in particular
    reconnect: str = "reconnect=1"  # how this QEMU is told to come again after a second
    shares_cpus: bool = False  # whether the host can weigh VMs' use of its CPUs
    shapes_traffic: bool = False  # whether it can limit what an interface carries
    secure_uefi_alone: bool = False  # whether the host's only UEFI without keys is one that could keep to keys
    hyperv: frozenset[str] | None = None  # which of Hyper-V's interfaces its KVM has; None: all that we ask for


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DomainPaths:
    """Where the parts of one VM lie. `local_storage` by name, drives behind it, in the order in which the guest sees
    the disks.
    """

    overlay: Path
    image: Path
    image_format: DiskFormat
    local_storage: Mapping[str, Path]
    disc: Path | None  # None: the drive is empty
    console: Path
    monitor: Path
    channel: Path
    share_server: Path  # a program, which is there when the role has shares
    bare: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # drives behind those, which nobody mounts
    layer: Path | None = None  # of a checkpoint, between the overlay and the image; None: there is none
    nvram: Path | None = None  # where UEFI keeps its variables; None for a BIOS


def paths_of(layout: Layout, instance: Instance) -> DomainPaths:
    """Where this generation's VM has its parts."""
    role, disc = instance.role, layout.disc(instance)
    return DomainPaths(
        overlay=layout.overlay(instance),
        image=layout.image(role.image_sha256, role.image_format),
        image_format=role.image_format,
        layer=layout.layer_below(instance),
        local_storage=layout.disks(instance),
        bare=layout.bare_disks(instance),
        disc=disc if disc.exists() else None,
        console=layout.console(instance.name),
        monitor=layout.monitor,
        channel=layout.channel,
        share_server=layout.share_server,
        nvram=None if role.hardware.firmware is Firmware.BIOS else layout.nvram(instance),
    )


def add(
    parent: etree._Element, tag: str, attributes: Mapping[str, str] | None = None, text: str | None = None
) -> etree._Element:
    """A new last child."""
    element = etree.SubElement(parent, tag, dict(attributes or {}))
    element.text = text
    return element
