"""The ports of a host that runs VMs: disks, answer discs, hypervisor, guest, private network, and its time."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from orchestrator.errors import Problem
from orchestrator.model import (
    Agent,
    Attachment,
    Domain,
    Given,
    HostFit,
    Identity,
    Instance,
    InstanceName,
    Kept,
    Missing,
    Nic,
    Notice,
    Parting,
    Probe,
    Ran,
    Role,
    Service,
    Services,
    Silence,
    Word,
)
from orchestrator.ports.blobs import BlobDesk, BlobFiles
from orchestrator.ports.pci import Pci
from orchestrator.ports.peers import Peers
from orchestrator.ports.time import Clock


class Disks(Protocol):
    """Overlays above read-only images, and local storage. Paths are the driver's own."""

    def lay_overlay(self, instance: Instance) -> None:
        """Makes this generation's overlay on the image if absent; Permanent when the image is missing or altered."""

    def erase_overlay(self, name: InstanceName) -> None:
        """Removes every overlay of the instance, of this generation and of earlier ones."""

    def prepare_checkpoint(self, instance: Instance, *, memory: bool) -> str:
        """Makes the place for this generation's checkpoint, empty; NoSpace where there is no room, with `memory`.
        Returns why that will lie on disk, where the role would have it in RAM; "" when nothing is to be said.

        Raises Foreign where the generation has a layer: its VM was kept, and what runs is none that we started.
        """

    def keep_checkpoint(self, instance: Instance, *, memory: bool) -> Kept | None:
        """Makes the overlay of a VM that was saved or has shut down the checkpoint's layer, which nobody can write
        to, and lays an empty one above it. What the VM's firmware and TPM remember is its board. Returns the files
        as they are, memory where it is to have one; None where that was not saved whole.

        The VM is off. Reads the files to their ends.
        """

    def read_ahead(self, instance: Instance) -> None:
        """Begins to read what the next two will be asked of soon, where the record has a checkpoint; returns at once,
        and tells nothing: what cannot be read, or changes meanwhile, is read by them.
        """

    def layer_damage(self, instance: Instance) -> str:
        """Why the layer of the record's checkpoint, or its board, is not as it was kept; "" when each byte is."""

    def memory_damage(self, instance: Instance) -> str:
        """The same of its memory, where the record has one."""

    def renew_overlay(self, instance: Instance) -> None:
        """An empty overlay on the checkpoint's layer, and its board, instead of what is there. Its VM is off."""

    def erase_memory(self, name: InstanceName) -> None:
        """Removes what was saved of the instance's memory, whole or by half; a layer stays."""

    def erase_checkpoint(self, name: InstanceName) -> None:
        """Removes the layer and the memory of the instance's checkpoint, of whatever generation; no VM is on it."""

    def lay_local_storage(self, instance: Instance) -> None:
        """Makes each local storage disk that is absent; one that exists may grow, and keeps what is in it.

        No drive is made: Permanent where one of the role's is not there.
        """

    def erase_local_storage(self, name: InstanceName) -> None:
        """Removes all local storage of the instance."""

    def inventory(self) -> Mapping[InstanceName, frozenset[str]]:
        """What lies on disk by instance: "overlay", "layer", "memory" and "board" with their generation
        ("overlay:3"), and "storage:NAME".
        """


class AnswerMedia(Protocol):
    """The disc that answers the installer's questions. Holds secrets: mode 0600, destroyed after setup."""

    def write(self, instance: Instance) -> None:
        """Writes this generation's disc if absent; complete or not there at all. None for an image that reads none.

        What the instance keeps of itself through its generations (SSH host keys) is made here, once.
        """

    def erase(self, name: InstanceName) -> None:
        """Destroys every disc of the instance."""

    def host_keys(self, name: InstanceName) -> Mapping[str, bytes]:
        """The public SSH host keys that the instance keeps, by kind: "ed25519" -> the file's text. Empty: none."""

    def erase_identity(self, name: InstanceName) -> None:
        """Destroys what the instance keeps of itself. Absent is fine."""

    def inventory(self) -> frozenset[InstanceName]:
        """Instances that have a disc on this host."""

    def keepers(self) -> frozenset[InstanceName]:
        """Instances that keep something of themselves on this host."""


class Hypervisor(Protocol):
    """Domains on this host. Ours carry our metadata; a foreign domain with our name raises Foreign."""

    def look(self, name: InstanceName) -> Domain | None:
        """The instance's domain, or None."""

    def start(self, instance: Instance) -> None:
        """Defines this generation's domain if absent and powers it on if off.

        A domain of another generation with that name is refused (Permanent): one instance, one VM.
        """

    def fit(self) -> HostFit:
        """What saved memory depends on, as this host has it now."""

    def unfit(self, role: Role) -> Problem | None:
        """What this host has not of the machine that the role asks for; the problem's key is one below the role."""

    def save(self, instance: Instance) -> None:
        """Saves the memory of this generation's VM, which is off then. Its place is prepared, its disc ejected, its
        local storage and drives taken from it.

        Of a VM that is off there is nothing to save. Raises Busy while the guest holds its answer disc or has another
        disk than the system's, which goes on without its memory. Whatever it raises, the VM runs on or is
        off, and what was saved by half counts for nothing.
        """

    def restore(self, instance: Instance) -> None:
        """Defines this generation's domain and has it go on from its checkpoint's memory, without the disks
        that it starts with; what runs is let be.

        The overlay is empty, and nothing has run on it. A domain of another generation is refused (Permanent).
        """

    def ask_restart(self, name: InstanceName) -> None:
        """Asks the guest to restart: through the agent, else by the power button of the machine."""

    def ask_shutdown(self, name: InstanceName) -> None:
        """Asks the guest to shut down; a domain that is off or absent is fine."""

    def reset(self, name: InstanceName) -> None:
        """Pulls the reset line: the last resort of a restart."""

    def power_off(self, name: InstanceName, *, erased: bool = False) -> None:
        """Ends the VM at once; a domain that is off or absent is fine.

        `erased`: so will all be that it may write to. It need not write what it holds back, and ends sooner.
        """

    def limit(self, instance: Instance) -> None:
        """Gives the VM that runs the limits of its role, as far as the host can keep them; it may have them already.

        Cheap when it has. A domain that is off or absent is fine: it is started with them.
        """

    def enlarge(self, name: InstanceName, drive: str, size_mib: int) -> None:
        """Shows the VM that runs that a drive of its has grown to that size. Off, absent, or without it is fine."""

    def plug(self, instance: Instance, attached: Attachment) -> None:
        """Gives the VM that runs a drive. Off, absent, or with it already is fine: it is started with what its record
        says. Raises Permanent where this VM takes none while it runs.
        """

    def unplug(self, name: InstanceName, drive: str) -> bool:
        """Takes a drive from the VM that runs; whether it has it no more. Its guest has to agree: ask again."""

    def plug_disks(self, instance: Instance) -> None:
        """Gives the VM that runs what it lacks of its local storage and its drives. Off or absent is fine: it is
        started with them. Raises Permanent where this VM takes none while it runs.
        """

    def unplug_disks(self, instance: Instance) -> bool:
        """Takes all local storage and drives from the VM that runs; whether it had none any more. Its guest, which
        has been told to put them aside, has to agree: ask again. Off or absent is fine.
        """

    def eject(self, name: InstanceName) -> None:
        """Takes the answer disc out of the drive, now and for later starts."""

    def undefine(self, name: InstanceName) -> None:
        """Forgets the domain, which must be off, with everything of it that the hypervisor keeps."""

    def keep_evidence(self, instance: Instance) -> None:
        """Keeps what helps to understand a failure of this generation (console log, last agent answers), once."""

    def keep_disk(self, instance: Instance) -> None:
        """Takes the system disk of this generation, whose VM is off and forgotten, to the evidence of its failure; it
        goes after a while. Absent is fine.
        """

    def erase_evidence(self, name: InstanceName) -> None:
        """Removes all that was kept of the instance. Absent is fine."""

    def inventory(self) -> Sequence[Domain]:
        """All domains of ours on this host."""


class Guest(Protocol):
    """What can be learned of the operating system inside. The guest is hostile: all answers are checked here."""

    def identity(self, instance: Instance) -> Identity | Silence:
        """Which boot it is in; cheap enough to ask ten times a second."""

    def services(self, instance: Instance) -> Services | Silence:
        """Whether all auto-start services have started, the role's own `ready` units and command included."""

    def agent(self, instance: Instance) -> Agent | Silence:
        """What the agent says of itself; only for people, nothing is decided by it."""

    def clock_off_s(self, instance: Instance) -> float | None:
        """By how many seconds the guest's clock is ahead of the host's; None: nobody knows. Asked now and then."""

    def unfit(self, instance: Instance) -> str | Silence:
        """Why a guest of this kernel is not to be restored from its memory, in a few words; "" when it may be."""

    def write_out(self, instance: Instance) -> str | Silence:
        """Has the guest write to its disks what it holds back. "": it has; else why it cannot be made to."""

    def take_up(self, instance: Instance, attached: Attachment) -> str | Silence:
        """Has the guest mount a drive that its VM was given, made into a file system if it is blank. "": it has; else
        why not. Ask again while it is silent.
        """

    def let_go(self, instance: Instance, attached: Attachment) -> str | Silence:
        """Has the guest unmount a drive, so that it can be taken. "": nobody in it uses it; else who does, or why
        nobody knows. Ask again while it is silent.
        """

    def put_aside(self, instance: Instance) -> str | Silence:
        """Has the guest unmount its local storage and drives, which come back: nobody writes to their places
        meanwhile. "": nobody in it uses them; else who does, or why nobody knows. Ask again while it is silent, and
        once they are taken.
        """

    def take_back(self, instance: Instance) -> str | Silence:
        """Has the guest mount what its VM was given again; a drive that it never mounted it sees. "": it has; else
        why not.
        """

    def awaken(self, instance: Instance) -> str | Silence:
        """Tells a guest that was restored what time it is, and gives it random bytes. "": its clock is right, within
        a tenth of a second; else why it cannot be told.
        """

    def randomness(self, instance: Instance) -> str:
        """By what that of its kernel was made anew when it was awakened last, in a few words; "": nobody knows."""

    def probe(self, instance: Instance, probe: Probe, port: int) -> str:
        """Asks the instance's DIP from the host: "" when the probe passes, else why not in a few words."""


class Inside(Protocol):
    """What people have done in a guest through its agent; nothing is decided by it. Answers are checked here.

    Raises Transient while the agent is silent, Conflict for what it does not allow or cannot do, NotFound for a
    program or file that the guest does not have.
    """

    def begin(self, instance: Instance, argv: Sequence[str], given: bytes) -> int:
        """Starts a program with `given` as its standard input; returns its number in this boot of the guest.

        The one verb that is not safe to repeat, but after Transient; Permanent: it may have begun.
        """

    def ended(self, instance: Instance, pid: int) -> Ran | None:
        """How it ended; None while it runs. The last ones can be asked for again; Permanent: nobody knows now."""

    def read(self, instance: Instance, path: str, offset: int, size_bytes: int) -> bytes:
        """So many bytes of a file from an offset on; fewer at its end."""

    def write(self, instance: Instance, path: str, offset: int, data: bytes) -> None:
        """Puts bytes to a place of a file; at offset 0 into a new or an emptied one."""


class Desk(Protocol):
    """Who answers a guest's questions on the host, and takes down what it tells. Called from several threads."""

    @property
    def blobs(self) -> BlobDesk:
        """Who gives it its blobs."""

    def who(self, name: InstanceName) -> Mapping[str, object] | None:
        """What the guest of that instance may know of itself, as JSON has it; None: nothing is recorded of it.

        Beside names, `address` and `phase`: `generation` and `boot`; `domain`, null where its service has none, and
        `revision`, the newest of its service's file that says what its VM is built from, 0 where none does.
        """

    def log(self, name: InstanceName, line: str) -> None:
        """Puts a line, made harmless and short, into the ledger."""

    @property
    def peers(self) -> Peers:
        """Who tells it of the others."""


class Channel(Protocol):
    """The runtime channel: what a guest says of itself. It is hostile: what is said is checked here, and bounded."""

    def word(self, name: InstanceName) -> Word | None:
        """What the guest of this VM has said last; None: nothing, as far as this process knows. Asked each turn."""

    def parting(self, name: InstanceName) -> Parting | None:
        """That its guest wants to be told of its end, as it has said last; None: it has not, as far as this process
        knows. Asked each turn.
        """

    def taken(self, name: InstanceName, word: Word) -> None:
        """The word is recorded and acted upon: the guest that still waits for that is answered. May be repeated."""


class Network(Protocol):
    """Private networks, reservations, and guards: against spoofing, and around the service's VIP."""

    def lay(self, service: Service, instances: Sequence[Instance], beside: Service | None = None) -> Sequence[Notice]:
        """Makes the service's network, its firewall and a reservation, name and guard per instance.

        `beside` is its other deployment, if clients see that: of what the guards let through to the VIPs of both, no
        moment shows half. None: there is none, and nothing is let through to one.

        Repeating it with other instances adds and removes what differs and disturbs nobody else. Ports of running VMs
        that are not on the network are put back. Returns what is for the ledger: what somebody else had changed, and
        which guest has begun to meet a limit of connections.
        """

    def call(self, service: Service, ready: Mapping[str, Collection[str]]) -> None:
        """Has the name of each role lead to these DIPs, at once: `web` and `web.shop` for guests of the service, and
        for nobody else. A role with none, or that is not among them, has no such name.

        Before `lay` and after `lift` nothing is done. May be repeated; what is so already costs little.
        """

    def lift(self, service: Service) -> None:
        """Removes all of it. Absent parts are fine."""

    def inventory(self) -> frozenset[str]:
        """Names of the services that have any part of a network on this host."""

    def laid(self, service: Service) -> Mapping[InstanceName, Nic]:
        """The cards for which the service's network was laid last, as this host shows it; changes nothing."""

    def missing(self, service: Service, instances: Sequence[Instance]) -> Sequence[Missing]:
        """What of the network is not as it ought to be; changes nothing. The instances' VMs run."""

    def fault(self, instance: Instance) -> str:
        """Why nothing reaches the instance through no fault of its own, in a few words; "" when its port stands.
        Cheap: the kernel is looked at, and nobody is asked.
        """

    def given(self) -> Sequence[Given]:
        """What DHCP servers on bridges of the host's have given cards of ours in the last hour, by their own word as
        it passed to the guest; of each card and address the last time. Cheap enough for each turn.
        """

    def keeps(self, address: str) -> str:
        """Why no guest may have that address, whatever server gives it: in a few words what it is to this host, and
        "" when it is nothing. VIPs and what instances have are not its business.
        """

    def has_port(self, instance: Instance) -> bool:
        """Whether the instance's port is there at all. One that somebody deleted under a running VM comes back with
        the VM's next start alone: QEMU holds what is left of it. As cheap as `fault`.
        """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What one host runs VMs with. It is all that a step has to do with, its instance's seat apart."""

    disks: Disks
    blobs: BlobFiles
    media: AnswerMedia
    hypervisor: Hypervisor
    guest: Guest
    inside: Inside
    channel: Channel
    network: Network
    clock: Clock
    pci: Pci
