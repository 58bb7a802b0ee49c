"""Images: what one is, and the machine that it wants."""

from __future__ import annotations

import dataclasses
import enum

from orchestrator.model.checkpoint import Tried


class Os(enum.StrEnum):
    """Which family of answer file and readiness an image wants."""

    LINUX = "linux"
    WINDOWS = "windows"


class DiskFormat(enum.StrEnum):
    """Formats that may be a base: both are read by their header alone and name no other file."""

    QCOW2 = "qcow2"
    RAW = "raw"


class AnswerFormat(enum.StrEnum):
    """What an image reads its answers from."""

    NOCLOUD = "nocloud"  # cloud-init
    CONFIG_DRIVE = "configdrive"  # cloudbase-init
    UNATTEND = "unattend"  # Windows Setup itself
    NONE = "none"  # nothing: it sets itself up, so there is no disc and no setup to wait for


class Firmware(enum.StrEnum):
    """What a machine starts with."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE_BOOT = "secure-boot"  # UEFI that runs only what Microsoft's keys have signed


class DiskBus(enum.StrEnum):
    """What the system disk hangs on: an image boots only from one that it has a driver for."""

    VIRTIO = "virtio"
    SATA = "sata"
    NVME = "nvme"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine that an image wants around it."""

    firmware: Firmware = Firmware.BIOS
    disk_bus: DiskBus = DiskBus.VIRTIO
    tpm: bool = False  # a TPM 2.0 of the instance's own


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long setup and the start of services may take (seconds), as `image test` measured it with room to spare."""

    setup_s: float
    ready_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A generalized, read-only base disk in the repository; the digest is its identity, names are aliases."""

    sha256: str
    format: DiskFormat
    os: Os
    size_bytes: int
    virtual_size_bytes: int
    names: tuple[str, ...]
    added_at_s: float
    answers: AnswerFormat = AnswerFormat.NOCLOUD
    hardware: Hardware = Hardware()
    suggested: Deadlines | None = None  # None: the image has not been tested
    source_sha256: str = ""  # of the file as it was sent; "" when that is not known
    tried: Tried | None = None  # by which road its reimages go; None: nobody has tried, or not with this QEMU
    suspect: str = ""  # why healing holds it for the cause of failures; "": it does not
    trusted_at_s: float = 0.0  # when somebody said that it is sound; 0: nobody has
    revision: int = 0
