"""Instances: what is wanted of one, and how far it is."""

from __future__ import annotations

import dataclasses
import uuid

from orchestrator.model import pci, world
from orchestrator.model.allocation import Nic
from orchestrator.model.cause import GUEST_KEEPS_OUT, Cause
from orchestrator.model.checkpoint import Apart, Checkpoint
from orchestrator.model.drive import MOUNTED, Attachment
from orchestrator.model.lan import LanNic, lan_nic
from orchestrator.model.naming import InstanceName
from orchestrator.model.phase import FIRST, Phase
from orchestrator.model.template import Role
from orchestrator.model.word import Farewell, Parting, Word
from orchestrator.model.world import Unit


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Incarnation:
    """Which boot of which generation: compared generation first, so a wish is met by anything later."""

    generation: int
    boot: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the operator wants of an instance. Only the API writes it; levels, not commands."""

    role: Role
    serve: bool = True  # False: remove the instance
    wanted: Incarnation = Incarnation(1, 1)
    storage: int = 1  # how many times local storage shall have been made new
    protected: bool = False  # neither a verb nor healing touches it, nor its VM
    cold: int = 0  # the last generation that somebody wants made of the image, whatever checkpoint there is
    renews: int = 0  # the last generation that is made of the image so that its checkpoint is a new one
    lease: str = ""  # the id of that which somebody has, or will have when it has drained; "": nobody
    lent: int = 0  # the last generation that a client had: nobody after him gets it
    halts: int = 0  # how many times its being off or on was changed: odd, it shall be off and stay off
    attached: tuple[Attachment, ...] = ()  # drives that it has by hand, whatever it is built from
    passed: tuple[pci.Passed, ...] = ()  # devices of the host that are its own, until no VM of it is to have them

    @property
    def runs(self) -> bool:
        """Whether the instance shall run; False: it was stopped, and nobody has started it since."""
        return self.halts % 2 == 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance as recorded in the store."""

    name: InstanceName
    uid: str  # UUID of the instance; new when a service of the same name is deployed again
    service: str
    role_name: str
    index: int
    network: str  # libvirt network
    nic: Nic
    goal: Goal

    phase: Phase = FIRST
    phase_since_s: float = 0.0  # seconds since the epoch
    role: Role  # what the present generation is built from
    generation: int = 1
    set_up: bool = False  # whether the present generation has completed its setup
    boot: int = 0  # starts of the operating system in this generation, as far as we saw
    boot_id: str = ""  # the guest's id of the boot that `boot` counts
    resets: int = 0  # guest resets that the monitor has told of in this generation
    storage: int = 0  # times local storage was made new
    sick_s: float = (
        0.0  # how long, in this phase, the instance could not help waiting: that is no lateness of its own
    )
    sick_since_s: float = 0.0  # since when it cannot help waiting; 0 = it can
    asked_at_s: float = 0.0  # when this phase asked the guest to act first; 0 = not yet
    asks: int = 0  # how often it has asked
    frozen_since_s: float = 0.0  # since when, in this phase, a backup kept the guest from being asked; 0 = none has
    forced: bool = False  # whether this phase had to reset or end the VM, because the guest did not do as asked
    powered_on: bool = False  # whether, in this phase, its VM was off or reset: the guest is in another boot
    by_request: bool = False  # whether its present boot was asked for by somebody, and it has not served since
    only_probe: bool = False  # whether a probe alone speaks against it: its agent answers, its services have started
    agent_fault: str = ""  # one sentence: why nothing can be made of what its agent sends; "" when it makes sense
    agent_fault_since_s: float = 0.0  # since when that is so; 0 = it is not
    agent_silent_since_s: float = 0.0  # since when it says nothing while something else speaks for it; 0 = it does
    agent_fault_told_s: float = 0.0  # since when it was so of which the ledger was told last
    unwell_since_s: float = 0.0  # since when the health check fails while serving; 0 = it passes
    unwell_told_s: float = 0.0  # since when it was so of which the ledger was told last
    waits_for: Cause | None = None  # what this phase waits for; None: nothing is known that it waits for
    units: tuple[Unit, ...] = ()  # services of the guest that have not started in this boot, as told last
    clock_off_s: float = 0.0  # by how much its guest's clock goes wrong, seconds; 0: it does not, as far as is known
    lacks: tuple[str, ...] = ()  # serial numbers of disks of its role that its VM does not have, though it serves
    word: Word | None = None  # what its guest has said last of itself, in whatever boot of this generation
    parting: Parting | None = None  # that its guest wants to be told of its end, in whatever boot of this generation
    farewell: Farewell = Farewell.NONE  # whether it may yet be waited for in this phase, before it is shut down
    warning: str = ""  # one sentence: what the last stop or restart cost beyond what it should
    failed_by: Cause | None = None  # why the instance failed, and in which phase
    retry_at_s: float = 0.0  # failed while it was leaving: when that is tried again; 0 = it did not
    revisit_at_s: float = 0.0  # failed together with others of its role: when it is looked at again; 0 = it did not
    checkpoint: Checkpoint | None = None  # that a reimage may begin with
    layered: int = 0  # the last generation whose overlay was laid on the checkpoint's layer
    no_checkpoint: str = ""  # why none is taken of it; "": nothing is in the way
    no_checkpoint_lasts: bool = False  # whether that is so of whatever is built from the same
    no_memory: str = ""  # why none is saved of it; likewise
    no_memory_lasts: bool = False
    memory_on_disk: str = ""  # why its memory is saved to disk, where its role would have it in RAM
    apart: Apart = Apart.NOT  # how far it is, in this phase, with taking its disks from it
    road: str = ""  # by which this generation was made, and why by no warmer one that its role would have
    strikes: int = 0  # healing attempts since it last served
    healed_at_s: float = 0.0  # when the last of them began; 0 = there was none
    reimages: tuple[float, ...] = ()  # when healing has reimaged it: the last few times
    restarts: tuple[float, ...] = ()  # when the guest restarted by itself: the last few times
    lan_given: str = (
        ""  # its address by DHCP on a bridge of the host's, by the server's word; "": none that it may use
    )
    lan_given_at_s: float = 0.0  # when a server said so last, or gave one that it may not use; 0: none has
    lan_refused: str = ""  # in a sentence, why it may not use what it was given last; "": it may
    calms: int = 0  # how often its restarting for ever has been waited out
    calm_until_s: float = 0.0  # until when it is waited out now; 0 = it is not
    served_at_s: float = 0.0  # when this generation last entered rotation; 0 = it has not yet
    proven: bool = False  # an earlier generation of the same template has served
    made_at_s: float = 0.0  # when it was wished for the first time
    wish_revision: int = 0
    state_revision: int = 0  # 0: it has had no turn yet

    @property
    def revision(self) -> int:
        """Rises whenever anything of the instance is written; 0: it is not stored yet."""
        return max(self.wish_revision, self.state_revision)

    @property
    def waiting(self) -> str:
        """What this phase waits for, in a sentence."""
        return str(self.waits_for or "")

    @property
    def failure(self) -> str:
        """Why the instance failed, and in which phase, in a sentence."""
        return str(self.failed_by or "")

    @property
    def services_pending(self) -> tuple[str, ...]:
        """Which services have not started in this boot, as people read it."""
        return world.pending(self.units)

    @property
    def services_failed(self) -> tuple[str, ...]:
        """Which services have failed to start in this boot, as people read it."""
        return world.failed(self.units)

    @property
    def serving(self) -> bool:
        """Whether it serves, well or not."""
        return self.phase.traits.serves

    @property
    def kept_out(self) -> bool:
        """Whether it serves and its guest's word keeps new connections from it: nobody counts on it meanwhile."""
        return self.serving and self.waits_for is not None and self.waits_for.kind in GUEST_KEEPS_OUT

    @property
    def available(self) -> bool:
        """Whether it serves whoever comes: it is well, and its guest lets new connections come."""
        return self.serving and not self.unwell_since_s and not self.kept_out

    @property
    def is_off(self) -> bool:
        """Whether it is off, because somebody asked for that."""
        return self.phase.traits.is_off

    @property
    def has_failed(self) -> bool:
        """Whether it keeps its evidence until somebody acts, or until it is tried again."""
        return self.phase.traits.has_failed

    @property
    def cause(self) -> Cause | None:
        """What is the matter with it now: what has made it fail, else what it waits for."""
        now = self.failed_by if self.has_failed else self.waits_for
        return now.root if now else None

    @property
    def disks(self) -> tuple[str, ...]:
        """The names of its disks beside that of the system, as its guest finds and mounts them: local storage, drives
        of its role, drives by hand.
        """
        by_hand = (one.name for one in self.goal.attached if one.mounted)
        return (*self.disks_of_role, *by_hand)

    @property
    def disks_of_role(self) -> tuple[str, ...]:
        """The first of them, which its VM has for as long as it lives."""
        return (*(one.name for one in self.role.local_storage), *(one.name for one in self.role.drives))

    @property
    def disk_serials(self) -> tuple[str, ...]:
        """The serial numbers by which its guest finds its disks beside that of the system, in the order in which its
        VM starts with them.
        """
        bare = (one.serial for one in self.goal.attached if not one.mounted)
        return (*(f"{MOUNTED}{name}" for name in self.disks), *bare)

    def lacking(self, has: frozenset[str]) -> tuple[str, ...]:
        """Which disks of its role a VM of these has not. What it has by hand may come with its next start."""
        return tuple(serial for name in self.disks_of_role if (serial := f"{MOUNTED}{name}") not in has)

    @property
    def drives_now(self) -> tuple[str, ...]:
        """The drives that a VM of the present generation starts with."""
        return (*(one.of(self.index) for one in self.role.drives), *(one.drive for one in self.goal.attached))

    @property
    def drives(self) -> frozenset[str]:
        """The drives that it has, or is to have: nobody else may have them."""
        to_be = (one.of(self.index) for one in self.goal.role.drives)
        return frozenset((*self.drives_now, *to_be))

    @property
    def passed(self) -> tuple[pci.Passed, ...]:
        """The devices of the host that a VM of the present generation has."""
        return pci.of_keys(self.goal.passed, pci.keys(self.role.devices.pci))

    @property
    def passed_lacking(self) -> tuple[str, ...]:
        """What its role asks for of the host's devices, and nothing is given to it for."""
        wanted = pci.keys(self.role.devices.pci)
        return tuple(pci.name_of(key) for key in wanted if all(one.wanted != key for one in self.goal.passed))

    @property
    def passed_to(self) -> tuple[pci.Passed, ...]:
        """The devices of the host that it has, or is to have: nobody else may have them."""
        wanted = (*pci.keys(self.role.devices.pci), *pci.keys(self.goal.role.devices.pci))
        return pci.of_keys(self.goal.passed, wanted)

    @property
    def lan(self) -> LanNic | None:
        """Its card on a bridge of the host's, if it has one."""
        return lan_nic(self.role.network, self.index, self.uid, self.nic.mac, self.lan_given)

    @property
    def hostname(self) -> str:
        """`web-0`: what the guest calls itself."""
        return f"{self.role_name}-{self.index}"

    @property
    def from_checkpoint(self) -> bool:
        """Whether the overlay of this generation lies on the checkpoint's layer. By its number: a version that knows
        nothing of checkpoints keeps the record's words, and goes on to generations of the image.
        """
        return self.checkpoint is not None and self.layered == self.generation

    @property
    def is_restored(self) -> bool:
        """Whether its boot is that of its checkpoint, which goes on: a boot of its disk has another id."""
        kept = self.checkpoint
        return self.from_checkpoint and kept is not None and self.boot_id == kept.boot_id

    @property
    def setup_generation(self) -> int:
        """The generation whose setup its guest went through, as that was told: that which its checkpoint is of, where
        it goes on from one.
        """
        return self.checkpoint.generation if self.from_checkpoint and self.checkpoint else self.generation

    @property
    def vm_uuid(self) -> str:
        """The domain UUID of this generation: known before the domain exists, new for each that is made of the image.
        What goes on from a checkpoint is the VM that was kept.
        """
        return str(uuid.uuid5(uuid.UUID(self.uid), f"generation {self.setup_generation}"))

    @property
    def at(self) -> Incarnation:
        """Where the instance is; compare with `goal.wanted`."""
        return Incarnation(self.generation, self.boot)

    @property
    def going(self) -> bool:
        """Whether this generation is to end: by a removal, a reimage, or because a client has had it."""
        return not self.goal.serve or self.goal.wanted.generation > self.generation or self.spent

    @property
    def leased(self) -> bool:
        """Whether it is a client's, or will be when it has drained."""
        return bool(self.goal.lease)

    @property
    def spent(self) -> bool:
        """Whether a client has had this generation, and has it no more."""
        return not self.leased and self.goal.lent >= self.generation

    @property
    def held(self) -> bool:
        """Whether nothing may be begun with it or its VM: it is protected, and to stay."""
        return self.goal.protected and self.goal.serve

    @property
    def restart_asked(self) -> bool:
        """Whether somebody has asked for a restart that has yet to come."""
        return not self.going and self.goal.wanted > self.at

    @property
    def again_at_s(self) -> float:
        """When what has failed is tried or looked at again, unasked (seconds since the epoch); 0: never."""
        return self.retry_at_s or self.revisit_at_s

    @property
    def stale(self) -> bool:
        """Whether its VM is built from something else than the service's file says by now."""
        return not self.role.builds_like(self.goal.role)


def learned(instance: Instance, **facts: object) -> Instance:
    """The record with what a look has shown: the very same where that is nothing new, as most looks at one who serves
    show, for a record is long.
    """
    if all(getattr(instance, key) == value for key, value in facts.items()):
        return instance
    return dataclasses.replace(instance, **facts)  # type: ignore[arg-type]
