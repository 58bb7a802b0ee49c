"""Checkpoints: what a reimage may begin with instead of the image, and what saved memory fits."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

DAY_S: Final = 24 * 3600.0
REFRESHED_S: Final = 3600.0  # What is renewed by itself may become so old at least.


class Road(enum.StrEnum):
    """What the next generation of an instance begins with."""

    COLD = "cold"  # the image, the first boot, the setup
    PREPARED = "prepared"  # disk of the instance as it was when it became ready, and a boot
    WARM = "warm"  # disk and memory of the instance as it was when it became ready


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """The warmest road that reimages of an image take, as far as somebody has tried; `why` not a warmer one."""

    warmest: Road = Road.WARM
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of a canary's reimages, without local storage and with it (None: that was not tried), and by which
    QEMU, as `HostFit` has it: another one may do otherwise.
    """

    plain: Fitness
    storage: Fitness | None = None
    qemu: str = ""
    at_s: float = 0.0


class Apart(enum.StrEnum):
    """How far it is, while an instance is kept, with taking its local storage and drives from it."""

    NOT = ""  # nothing was asked
    ASKED = "asked"  # its guest is told to put it aside, and may yet do so
    TAKEN = "taken"  # its VM as well was asked to let go of it, and may yet do so
    BACK = "back"  # neither is under way any more, and it is given back


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """How a role keeps its checkpoints."""

    max_age_s: float = 7 * DAY_S  # no generation begins with an older one
    memory: bool = False  # whether what they remember is kept in RAM, where there is room
    refresh: bool = False  # whether they are renewed before, by cold reimages, as nothing else is in the way


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostFit:
    """What saved memory depends on besides the VM: it is restored where all of it is the same."""

    qemu: str  # which build
    cpu: str  # digest of what the host's processor can do
    boot: str  # of the host


@dataclasses.dataclass(frozen=True, slots=True)
class Digested:
    """A file by its bytes."""

    sha256: str
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """The files of a checkpoint."""

    layer: Digested
    memory: Digested | None = None
    board: Digested | None = None  # what its firmware and TPM remembered; None: they remember nothing


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Disk of one instance at one moment, when it was ready and before its first traffic; and its memory, or none.

    It is that instance's alone, and lies where its generation says.
    """

    generation: int  # that was kept; what goes on from it is that VM, by its UUID
    boot: int  # in which it was
    boot_id: str  # repeats in whatever is restored
    template: str  # digest of what the VM was built from
    place: str  # of the instance on its network
    attached: tuple[str, ...] = ()  # serial numbers and names of the drives that it had by hand
    fit: HostFit
    layer: Digested
    memory: Digested | None = None  # None: what goes on from it boots
    no_memory: str = ""  # why there is none, where its role would have one
    board: Digested | None = None  # what its firmware and TPM remembered; None: they remember nothing
    taken_at_s: float
