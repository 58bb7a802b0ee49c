"""Which road the next generation of an instance takes, and why not a warmer one; when a checkpoint is taken. Pure."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from typing import Final

from orchestrator.model import Checkpoint, DiskBus, Fitness, HostFit, Instance, Os, Road, Role, Tried


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """A road; `why_not` a warmer one, which its role would have: "" where there is none."""

    road: Road
    why_not: str = ""

    def __str__(self) -> str:
        match self.road:
            case Road.WARM:
                return "warm, from its checkpoint"
            case Road.PREPARED:
                return "prepared, a boot from its checkpoint" + (f": {self.why_not}" if self.why_not else "")
            case Road.COLD:
                return f"cold: {self.why_not}" if self.why_not else ""


def place_of(instance: Instance) -> str:
    """Where the instance is on its network, as its guest has learned it."""
    nic = instance.nic
    routed = f"{nic.address}/{nic.prefix_length} {nic.gateway} {nic.address6 or '-'}"
    return f"{instance.network} {nic.mac} {nic.tap} {routed}"


def attached_to(instance: Instance) -> tuple[str, ...]:
    """The drives that it has by hand, by the serial numbers under which its guest knows them."""
    return tuple(sorted(f"{one.serial} {one.drive}" for one in instance.goal.attached))


@functools.lru_cache(maxsize=1024)
def built_from(role: Role) -> str:
    """SHA-256, hexadecimal, of what a VM of the role is built from: equal where no reimage is needed between two."""
    text = json.dumps(dataclasses.asdict(role.template()), default=str, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_WARMTH: Final = {Road.COLD: 0, Road.PREPARED: 1, Road.WARM: 2}

# What a role cannot go on from a checkpoint with, as far as it goes by now.
_UNFIT: Final[tuple[tuple[Callable[[Role], bool], str], ...]] = (
    (lambda role: not role.ready.agent, "without an agent nobody has it write its disk, or tells it the time"),
    (lambda role: bool(role.network.bridge), "others reach it by its bridge before it could be kept"),
    (lambda role: role.keep_failed_disk, "the disk that is kept of a failure would lie on it (evidence.disk)"),
)

# What its memory cannot be restored with: its disk can be booted.
_UNFIT_MEMORY: Final[tuple[tuple[Callable[[Role], bool], str], ...]] = (
    (lambda role: role.os is Os.WINDOWS and bool(role.local_storage or role.drives),
     "a Windows does not let go of its local storage and drives"),
    (lambda role: role.hardware.disk_bus is not DiskBus.VIRTIO, "its disk is not a virtio one"),
    (lambda role: bool(role.libvirt_xml), "its VM is not ours alone (libvirt.xml)"),
    (lambda role: bool(role.shares), "what serves its shares is not saved with it"),
    (lambda role: role.devices.screen, "it has a screen that others may look at"),
    (lambda role: role.devices.hugepages, "its memory is of huge pages"),
    (lambda role: bool(role.devices.pci), "it has a device of the host (devices.pci), which is not saved with it"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What the conditions of going on from a checkpoint look at."""

    instance: Instance
    checkpoint: Checkpoint
    fit: HostFit
    now_s: float


# What keeps an instance that has a checkpoint from it, the first that holds is told.
_AGAINST: Final[tuple[tuple[Callable[[_Asked], bool], str], ...]] = (
    (lambda a: a.checkpoint.template != built_from(a.instance.role), "its checkpoint is of another template"),
    (lambda a: a.checkpoint.place != place_of(a.instance), "its checkpoint is of another address or network"),
    (lambda a: not 0 <= a.now_s - a.checkpoint.taken_at_s <= a.instance.goal.role.checkpoint.max_age_s,
     "its checkpoint is too old (checkpoint.maxAge)"),
    (lambda a: a.checkpoint.attached != attached_to(a.instance), "drives came or went by hand since its checkpoint"),
)  # fmt: skip

# What keeps it from the checkpoint's memory: saved memory fits the very host that it was saved on.
_AGAINST_MEMORY: Final[tuple[tuple[Callable[[_Asked], bool], str], ...]] = (
    (lambda a: a.checkpoint.fit.boot != a.fit.boot, "the host has started again since its checkpoint"),
    (lambda a: a.checkpoint.fit.qemu != a.fit.qemu, "its checkpoint is of another QEMU"),
    (lambda a: a.checkpoint.fit.cpu != a.fit.cpu, "its checkpoint is of another processor"),
)


def unfit(role: Role) -> str:
    """Why no instance of the role goes on from a checkpoint, whatever its file says; "" for no known reason."""
    return next((words for holds, words in _UNFIT if holds(role)), "") or _tried(role, Road.COLD)


def unfit_memory(role: Role) -> str:
    """Why no memory of an instance of the role can be restored, though its disk can be booted; likewise."""
    return next((words for holds, words in _UNFIT_MEMORY if holds(role)), "") or _tried(role, Road.PREPARED)


def _tried(role: Role, road: Road) -> str:
    """That its image's canary went no other road; "" where it did, or nobody has tried."""
    return f"its image was tried: {role.fitness.why}" if role.fitness.warmest is road else ""


def of_image(tried: Tried | None, *, storage: bool) -> Fitness:
    """What a role of an image can count on, with local storage or without."""
    if tried is None:
        return Fitness()
    found = tried.storage if storage and tried.storage is not None else tried.plain
    return found if _WARMTH[found.warmest] <= _WARMTH[tried.plain.warmest] else tried.plain


def known(why: str) -> bool:
    """Whether that is one of the reasons that hold for every image, whatever somebody has tried."""
    return any(words in why for _, words in (*_UNFIT, *_UNFIT_MEMORY))


def keeps(role: Role) -> bool:
    """Whether instances of the role are kept as they become ready."""
    return role.reimage is not Road.COLD and not unfit(role)


def keeps_memory(role: Role) -> bool:
    """Whether they are kept with what they know."""
    return role.reimage is Road.WARM and keeps(role) and not unfit_memory(role)


def wants_fit(instance: Instance) -> bool:
    """Whether the host has to be asked what saved memory depends on before the road can be chosen."""
    return instance.checkpoint is not None and not _keeps_cold(instance)


def chosen(instance: Instance, fit: HostFit | None, now_s: float) -> Chosen:
    """The road of the generation that begins. `fit`: the host's, None where `wants_fit` says that nobody asks."""
    if instance.goal.role.reimage is Road.COLD:
        return Chosen(Road.COLD)
    if why_not := _keeps_cold(instance):
        return Chosen(Road.COLD, why_not)
    if instance.checkpoint is None or fit is None:
        return Chosen(Road.COLD, "it has no checkpoint")
    if why_not := against(instance, instance.checkpoint, fit, now_s):
        return Chosen(Road.COLD, why_not)
    if instance.goal.role.reimage is Road.PREPARED:
        return Chosen(Road.PREPARED)
    why_not = against_memory(instance, instance.checkpoint, fit, now_s)
    return Chosen(Road.PREPARED, why_not) if why_not else Chosen(Road.WARM)


def against(instance: Instance, checkpoint: Checkpoint, fit: HostFit, now_s: float) -> str:
    """Why the instance cannot go on from that checkpoint here and now, as far as records tell; "" when it can."""
    asked = _Asked(instance, checkpoint, fit, now_s)
    return next((words for holds, words in _AGAINST if holds(asked)), "")


def against_memory(instance: Instance, checkpoint: Checkpoint, fit: HostFit, now_s: float) -> str:
    """Why it has to boot for that; likewise."""
    if why_not := unfit_memory(instance.goal.role):
        return why_not
    if checkpoint.memory is None:
        return "its checkpoint has no memory" + (f": {checkpoint.no_memory}" if checkpoint.no_memory else "")
    asked = _Asked(instance, checkpoint, fit, now_s)
    return next((words for holds, words in _AGAINST_MEMORY if holds(asked)), "")


def _keeps_cold(instance: Instance) -> str:
    """What keeps it from a checkpoint, whatever that is."""
    if instance.goal.role.reimage is Road.COLD:
        return "its role says reimage: cold"
    if why_not := unfit(instance.goal.role):
        return why_not
    if instance.storage < instance.goal.storage:
        return "a rebuild begins with the image"
    if instance.generation <= instance.goal.cold:
        return "that was asked for"
    if instance.generation <= instance.goal.renews:
        return "its checkpoint is renewed"
    if instance.strikes:
        return "it is being healed"
    return instance.no_checkpoint and f"it has no checkpoint: {instance.no_checkpoint}"


def wants_memory(instance: Instance) -> bool:
    """Whether what is kept of it is to be restored; else it is to be booted."""
    return keeps_memory(instance.goal.role) and not instance.no_memory


def awaits_checkpoint(instance: Instance) -> bool:
    """Whether it is to be kept before it is ready: nobody has reached it, and its reimages are to begin with it."""
    fresh = not instance.served_at_s and not instance.strikes and bool(instance.boot_id)
    unhindered = not (instance.no_checkpoint or instance.stale or instance.held)
    return keeps(instance.goal.role) and instance.checkpoint is None and fresh and unhindered
