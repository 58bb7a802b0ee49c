"""What the core asks of the world: small Protocols, one per noun, and the Host that bundles them.

Every verb is safe to repeat: after a crash the reconciler calls it again without knowing whether the first call
took effect. All may raise `errors.Transient` (look again later) or `errors.Permanent` (looking again cannot help);
no exception of a library crosses a port. Verbs block; none waits for a guest.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from orchestrator.model import (
    Agent,
    DiskFormat,
    Domain,
    Event,
    Frontend,
    Identity,
    Image,
    Instance,
    InstanceName,
    Member,
    Missing,
    Notice,
    Probe,
    Seat,
    Service,
    Services,
    Silence,
)
from orchestrator.model.arrivals import Teller
from orchestrator.model.intake import Intake


class Disks(Protocol):
    """Overlays above read-only images, and local storage. Paths are the driver's own."""

    def lay_overlay(self, instance: Instance) -> None:
        """Makes this generation's overlay on the image if absent; Permanent when the image is missing or altered."""

    def erase_overlay(self, name: InstanceName) -> None:
        """Removes every overlay of the instance, of this generation and of earlier ones."""

    def lay_local_storage(self, instance: Instance) -> None:
        """Makes each local storage disk that is absent; one that exists may grow, and keeps what is in it."""

    def erase_local_storage(self, name: InstanceName) -> None:
        """Removes all local storage of the instance."""

    def inventory(self) -> Mapping[InstanceName, frozenset[str]]:
        """What lies on disk by instance: "overlay" with its generation ("overlay:3") and "storage:NAME"."""


class AnswerMedia(Protocol):
    """The disc that answers the installer's questions. Holds secrets: mode 0600, destroyed after setup."""

    def write(self, instance: Instance) -> None:
        """Writes this generation's disc if absent; complete or not there at all. None for an image that reads none.

        What the instance keeps of itself through its generations (SSH host keys) is made here, once.
        """

    def erase(self, name: InstanceName) -> None:
        """Destroys every disc of the instance."""

    def erase_identity(self, name: InstanceName) -> None:
        """Destroys what the instance keeps of itself. Absent is fine."""

    def inventory(self) -> frozenset[InstanceName]:
        """Instances that have a disc on this host, or keep something of themselves."""


class Hypervisor(Protocol):
    """Domains on this host. Ours carry our metadata; a foreign domain with our name raises Foreign."""

    def look(self, name: InstanceName) -> Domain | None:
        """The instance's domain, or None."""

    def start(self, instance: Instance) -> None:
        """Defines this generation's domain if absent and powers it on if off.

        A domain of another generation with that name is refused (Permanent): one instance, one VM.
        """

    def ask_restart(self, name: InstanceName) -> None:
        """Asks the guest to restart: through the agent, else by the power button of the machine."""

    def ask_shutdown(self, name: InstanceName) -> None:
        """Asks the guest to shut down; a domain that is off or absent is fine."""

    def reset(self, name: InstanceName) -> None:
        """Pulls the reset line: the last resort of a restart."""

    def power_off(self, name: InstanceName) -> None:
        """Ends the VM at once; a domain that is off or absent is fine."""

    def limit(self, instance: Instance) -> None:
        """Gives the VM that runs the limits of its role, as far as the host can keep them; it may have them already.

        Cheap when it has. A domain that is off or absent is fine: it is started with them.
        """

    def eject(self, name: InstanceName) -> None:
        """Takes the answer disc out of the drive, now and for later starts."""

    def undefine(self, name: InstanceName) -> None:
        """Forgets the domain, which must be off, with everything of it that the hypervisor keeps."""

    def keep_evidence(self, instance: Instance) -> None:
        """Keeps what helps to understand a failure of this generation (console log, last agent answers), once."""

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

    def probe(self, instance: Instance, probe: Probe, port: int) -> str:
        """Asks the instance's DIP from the host: "" when the probe passes, else why not in a few words."""


class Balancer(Protocol):
    """The pools behind the virtual addresses. A member is in all pools of its role or in none."""

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """Makes the endpoints exactly these; members stay; reloads only when something differs.

        EndpointRefused when it cannot listen on some; it does on the others by then.
        """

    def join(self, member: Member) -> None:
        """Puts the member into its pools, ready for traffic; a draining one is taken back."""

    def drain(self, name: InstanceName) -> None:
        """No new connections for the member; open ones go on. An absent member is fine."""

    def leave(self, name: InstanceName) -> None:
        """Takes the member out of all pools, ending what is still open. An absent member is fine."""

    def seats(self) -> Mapping[InstanceName, Seat]:
        """All members as they stood a moment ago: a millisecond for each, so that asking often costs little."""

    def seat(self, name: InstanceName) -> Seat | None:
        """One member as it stands now; None when it is in no pool and nothing of it is open."""

    def faults(self) -> Sequence[str]:
        """What is not as it should be with the balancer itself, in sentences that say what helps."""


class Network(Protocol):
    """Private networks, reservations, guards against spoofing, and the VIP's address on the host."""

    def lay(self, service: Service, instances: Sequence[Instance]) -> Sequence[Notice]:
        """Makes the service's network, its firewall, its VIP and a reservation, name and guard per instance.

        Repeating it with other instances adds and removes what differs and disturbs nobody else. Ports of running VMs
        that are not on the network are put back. Returns what is for the ledger: what somebody else had changed, and
        which guest has begun to meet a limit of connections.
        """

    def lift(self, service: Service) -> None:
        """Removes all of it. Absent parts are fine."""

    def inventory(self) -> frozenset[str]:
        """Names of the services that have any part of a network on this host."""

    def missing(self, service: Service, instances: Sequence[Instance]) -> Sequence[Missing]:
        """What of the network is not as it ought to be; changes nothing. The instances' VMs run."""

    def fault(self, instance: Instance) -> str:
        """Why nothing reaches the instance through no fault of its own, in a few words; "" when its port stands.

        Cheap: the kernel is looked at, and nobody is asked.
        """

    def has_port(self, instance: Instance) -> bool:
        """Whether the instance's port is there at all. One that somebody deleted under a running VM comes back with
        the VM's next start alone: QEMU holds what is left of it. As cheap as `fault`.
        """


class Clock(Protocol):
    """Time as the core sees it."""

    def now_s(self) -> float:
        """Seconds since the epoch; somebody may set it, also back."""

    def monotonic_s(self) -> float:
        """Seconds since some moment, which only go forwards: for what is due."""

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """Returns when the condition, which the caller holds, is notified, or the time is over; perhaps earlier."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """All ports of one host, built once in daemon.py and passed down."""

    disks: Disks
    media: AnswerMedia
    hypervisor: Hypervisor
    guest: Guest
    balancer: Balancer
    network: Network
    clock: Clock


# The store stays outside Host: a step may not write records; only `turn` may. ---------------------------------

COMMIT_PARTS_MAX = 64  # writes, checks and events of one commit together: what the stores of several hosts take
COMMIT_BYTES_MAX = 1024 * 1024  # of all its bodies as JSON, keys, and events
COMMIT_IDS_KEPT = 256  # more than are ever on their way at once
CHANGES_KEPT = 20_000  # documents whose last change a store remembers


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A record as stored: `body` is JSON; `revision` is the store's revision at its last change, > 0.

    `damage` says in a few words why the stored bytes cannot be trusted; the body is empty then.
    """

    kind: str
    key: str
    body: Mapping[str, Any]
    revision: int
    damage: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One change of a commit. `body` None deletes; `expected` 0 means the document must not exist yet."""

    kind: str
    key: str
    body: Mapping[str, Any] | None
    expected: int


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A condition of a commit: the document is still at `expected` (0: there is none). Nothing is written."""

    kind: str
    key: str
    expected: int


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A document as a commit left it; None when the commit deleted it."""

    kind: str
    key: str
    revision: int  # of the commit
    document: Document | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Bytes that have arrived and were looked at, in a file that is nobody's yet. Sizes in bytes."""

    sha256: str
    source_sha256: str  # of what was sent: another, when it was unpacked or converted
    format: DiskFormat
    size_bytes: int
    virtual_size_bytes: int
    file: Path


class ImageFiles(Protocol):
    """The bytes of images, by their digest; what they are called and who uses them is known elsewhere."""

    def received(
        self, source: BinaryIO, intake: Intake, teller: Teller, progress: Callable[[int], None]
    ) -> AbstractContextManager[Received]:
        """Copies `source` to its end, converts it where that is asked, and checks it; gone at the end unless placed.

        Raises ImageRejected, NoSpace, or what `progress` raises, which is called all the while.
        """

    def place(self, received: Received) -> None:
        """Makes them the image with their digest, read-only; replaces a damaged one."""

    def take_back(self, received: Received) -> None:
        """Undoes `place`."""

    def erase(self, image: Image) -> None:
        """Removes them, if they are there."""

    def path(self, image: Image) -> Path:
        """Where they lie."""

    def names(self) -> set[str]:
        """Of all files that are images."""

    def verify(self, image: Image, progress: Callable[[int], None]) -> None:
        """Reads them again; raises ImageCorrupt when they or their mode are not what they were."""

    def sweep(self) -> None:
        """Removes what an interrupted arrival has left, and takes images back that were given to another user."""


class Store(Protocol):
    """Revisioned documents with compare-and-swap, and the ledger. What `commit` returned from survives kill -9."""

    def get(self, kind: str, key: str) -> Document | None:
        """The document, or None."""

    def all(self, kind: str) -> Sequence[Document]:
        """Every document of the kind, by key."""

    def damaged(self) -> Sequence[Document]:
        """Documents that were not as they were written when the store was opened, whatever their kind says by now."""

    def commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event] = (),
        *,
        checks: Sequence[Check] = (),
        commit_id: str = "",
    ) -> int:
        """All or nothing: compares, applies the writes, appends the events, returns the store's new revision.

        Raises StaleRevision, having changed nothing, when any document's revision is not the one expected. A commit
        whose `commit_id` is that of one of the last COMMIT_IDS_KEPT is that commit, sent again because its answer
        was lost: nothing is done, and the revision of then is returned. One above COMMIT_PARTS_MAX or
        COMMIT_BYTES_MAX is a bug of its author: AssertionError, and nothing is done.
        """

    def revision(self) -> int:
        """The store's revision now."""

    def changes(self, after: int) -> Sequence[Change] | None:
        """What the commits after the revision changed, oldest first; a document at its last change alone.

        None: the store does not remember so far back; read everything again.
        """

    def wait(self, after: int, timeout_s: float) -> int:
        """Blocks until the revision exceeds `after` or the time is over; returns the revision now."""

    def events(self, *, subject: str = "", after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """The newest `limit` events with a number above `after`, oldest first.

        `subject` narrows to that subject and to the instances of that service or role ("shop" takes "web-0.shop").
        """

    def close(self) -> None:
        """Ends the store; later calls are errors."""
