"""The state of the fake world, and how its guests live as time passes."""

from __future__ import annotations

import dataclasses
import threading
import uuid

from orchestrator.drivers.fake.faults import Faults
from orchestrator.errors import Permanent
from orchestrator.model import (
    AnswerFormat,
    Frontend,
    Given,
    Instance,
    InstanceName,
    Limits,
    Nic,
    Parting,
    PausedBy,
    PoolName,
    Power,
    Says,
    Seat,
    Standing,
    Traffic,
    Word,
)
from orchestrator.model.blob import Blob, BlobOwner
from orchestrator.model.drive import BARE, MOUNTED

AGENT_AFTER_S = 4.0
SETUP_AFTER_S = 5.0
SETUP_RESTART_AFTER_S = 6.0
SERVICES_AFTER_S = 6.0
SHUTDOWN_TAKES_S = 1.0
AGENT_ENDED_AFTER_S = 90.0  # systemd waits so long for a service, an agent that will not leave its frozen guest too
CHECK_AFTER_S = 1.0  # A member counts as up until it has been checked for the first time.


@dataclasses.dataclass(slots=True)
class FakeMachine:
    """A VM of the fake hypervisor, its guest included."""

    instance: Instance
    power: Power = Power.OFF
    paused_by: PausedBy | None = None
    claimed: bool = True
    disc: bool = False
    booted_at_s: float = 0.0
    boots: int = 0
    boot_id: str = ""
    setup_boot_id: str = ""  # lies on the overlay: lost with it
    resets: int = 0
    going_down_at_s: float | None = None
    going_down_since_s: float = 0.0
    going_to: Power = Power.OFF
    shut_down: bool = False  # whether its guest did that, of one that is off
    hung: bool = False  # it went down while it was frozen: it waits for its disks, and nobody can thaw them
    has_port: bool = False
    stopped: bool = False  # its QEMU: it lives, does nothing and answers nobody
    drives: dict[str, int] = dataclasses.field(default_factory=dict)  # what it runs with, and how large it sees it
    mounted: set[str] = dataclasses.field(default_factory=set)  # those of them that its guest has mounted
    bare: set[str] = dataclasses.field(default_factory=set)  # those that it never mounts
    storage: set[str] = dataclasses.field(default_factory=set)  # local storage that it runs with
    storage_mounted: set[str] = dataclasses.field(default_factory=set)
    misses_disks: bool = False  # they were taken from its guest, which has yet to take note of that
    puts_aside_at_s: float | None = None  # when its guest, which was asked to, has unmounted them
    ejects_disks: bool = (
        False  # its VM was asked to let go of them, its guest has not answered, and it still has them
    )
    limits: Limits = dataclasses.field(default_factory=Limits)
    clock_off_s: float = 0.0  # how far behind its clock is: of one that was restored, until it is told the time
    system_marker: str = ""  # what a test wrote to the system disk
    written: bool = False  # whether what its guest holds back is on its disk
    uuid: str = ""

    def __post_init__(self) -> None:
        self.uuid = self.instance.vm_uuid
        if self.power is Power.RUNNING:
            self.storage = {one.name for one in self.instance.role.local_storage}

    def start_boot(self, now_s: float) -> None:
        """A new boot begins."""
        self.power, self.paused_by, self.stopped = Power.RUNNING, None, False
        self.boots += 1
        self.booted_at_s = now_s
        self.boot_id = str(uuid.uuid5(uuid.UUID(self.uuid), f"boot {self.boots} at {now_s}"))
        self.written, self.misses_disks, self.puts_aside_at_s = False, False, None
        if self.ejects_disks:  # QEMU does what is under way as the machine is reset.
            self.storage, self.drives, self.ejects_disks = set(), {}, False
        self.storage_mounted, self.mounted = set(self.storage), self.drives.keys() - self.bare
        self.going_down_at_s, self.hung, self.clock_off_s = None, False, 0.0

    def serials(self) -> frozenset[str]:
        """The serial numbers of its disks beside that of the system."""
        of_role = {one.of(self.instance.index): f"{MOUNTED}{one.name}" for one in self.instance.role.drives}
        by_hand = {drive: f"{BARE if drive in self.bare else MOUNTED}{drive}" for drive in self.drives}
        known = by_hand | of_role | {one.drive: one.serial for one in self.instance.goal.attached}
        return frozenset({*(f"{MOUNTED}{name}" for name in self.storage), *(known[drive] for drive in self.drives)})

    def put_aside(self) -> None:
        """Its guest unmounts what it has, and knows of what it has no more."""
        self.storage_mounted.clear()
        self.mounted.clear()
        self.misses_disks = False

    def lose_disks(self) -> None:
        """Its guest lets go of them."""
        assert not self.storage_mounted | self.mounted, f"{self.instance.name}: a disk is torn out of its guest"
        self.storage, self.drives, self.misses_disks, self.ejects_disks = set(), {}, True, False


@dataclasses.dataclass(frozen=True, slots=True)
class FakeMemory:
    """The memory of a VM as it was saved."""

    generation: int
    uuid: str
    boot_id: str
    boots: int
    setup_boot_id: str
    up_s: float
    at_s: float
    system_marker: str


@dataclasses.dataclass(slots=True)
class FakeDrive:
    """A drive of the fake world; what is written to it is a word."""

    size_mib: int | None  # None: somebody took its file away
    written: str = ""
    snapshots: dict[str, tuple[float, int, str]] = dataclasses.field(default_factory=dict)  # when, MiB, what is in it


class World:
    """Disks, discs, machines, pools and networks of one host, and the clock that moves them."""

    def __init__(self) -> None:
        self.time_s = 1_800_000_000.0  # goes forwards alone: guests live by it
        self.set_back_s = 0.0  # what somebody has set the clock of the host back by
        self.images: set[str] = set()
        self.overlays: dict[InstanceName, set[int]] = {}
        self.set_up: dict[InstanceName, str] = {}  # the setup boot's id, as it lies on the overlay
        self.memories: dict[InstanceName, FakeMemory] = {}
        self.in_ram: set[InstanceName] = set()  # whose memory is lost with the host's
        self.layers: dict[InstanceName, tuple[int, str]] = {}  # generation and setup boot of a checkpoint's disk
        self.boards: dict[InstanceName, int] = {}  # generation of a checkpoint whose firmware or TPM remembers things
        self.empty: set[InstanceName] = set()  # whose overlay nothing has run on since it was laid on a layer
        self.host_boots = 1
        self.storage: dict[InstanceName, dict[str, str]] = {}  # name -> storage -> what is written in it
        self.drives: dict[str, FakeDrive] = {}
        self.torn_out: set[str] = set()  # drives that were taken from guests that had them mounted
        self.discs: dict[InstanceName, int] = {}
        self.words: dict[InstanceName, Word] = {}  # what each guest has said last, as the present daemon knows it
        self.partings: dict[InstanceName, Parting] = {}  # who wants to be told of its end
        self.unanswered: set[InstanceName] = set()  # guests that wait until that is done
        self.blobs: dict[BlobOwner, dict[str, tuple[Blob, bytes]]] = {}
        self.blob_versions = 0
        self.identities: dict[InstanceName, str] = {}  # what an instance keeps of itself, and since when
        self.machines: dict[InstanceName, FakeMachine] = {}
        self.seats_taken: dict[InstanceName, Seat] = {}
        self.told_unwell: set[InstanceName] = set()  # by whom the balancer heeds
        self.joined_at_s: dict[InstanceName, float] = {}
        self.connections: dict[InstanceName, int] = {}
        self.doors: dict[InstanceName, frozenset[PoolName]] = {}  # that lead to it
        self.traffic: dict[InstanceName, Traffic] = {}  # what each has carried; of others nothing is counted
        self.bytes: dict[tuple[InstanceName, PoolName], int] = {}  # that each has carried in a pool, either way
        self.frontends: tuple[Frontend, ...] = ()
        self.called: dict[str, dict[str, frozenset[str]]] = {}  # service -> role -> DIPs
        self.networks: dict[str, frozenset[InstanceName]] = {}
        self.cards: dict[str, dict[InstanceName, Nic]] = {}  # of each network
        self.given: dict[tuple[str, str], Given] = {}  # by DHCP, to each card and address
        self.own: set[str] = set()  # addresses of the host
        self.unplugged: set[InstanceName] = set()  # whose ports somebody took off the service's bridge
        self.vips: set[str] = set()  # of ours, on the host's interface
        self.vips_taken_off: list[str] = []  # by us
        self.evidence: set[tuple[InstanceName, int]] = set()
        self.kept_disks: set[tuple[InstanceName, int]] = set()
        self.faults = Faults()
        self.lock = threading.RLock()

    def meet(self, port: str) -> None:
        """Raises what a test has ordered for the port, by its name: "disks", "balancer", "vips", "evidence" …"""
        if port in self.faults.refuses:
            raise self.faults.refuses[port]

    def now_s(self) -> float:
        """The world's time: it moves only when a test moves it."""
        return self.time_s - self.set_back_s

    def monotonic_s(self) -> float:
        """See ports.Clock."""
        return self.time_s

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """See ports.Clock. Whoever moves the world notifies the condition, too."""
        changed.wait(within_s)

    def pass_time(self, seconds: float) -> None:
        """Lets the guests live for a while."""
        self.time_s += seconds
        for name in list(self.machines):
            self._live(self.machines[name])

    def _live(self, machine: FakeMachine) -> None:
        name = machine.instance.name
        if machine.power is not Power.RUNNING or machine.stopped:
            return
        if machine.going_down_at_s is not None and (machine.hung or name in self.faults.frozen):
            machine.hung = machine.hung or self.time_s - machine.going_down_since_s >= AGENT_ENDED_AFTER_S
            return
        if machine.going_down_at_s is not None:
            if self.time_s >= machine.going_down_at_s:
                for storage in self.storage.get(name, {}):
                    self.storage[name][storage] = self.storage[name][storage].replace("writing", "written")
                if machine.going_to is Power.RUNNING:
                    machine.resets += 1
                    machine.start_boot(machine.going_down_at_s)
                else:
                    machine.power, machine.written, machine.shut_down = Power.OFF, True, True
                    machine.going_down_at_s = None
            return
        if machine.puts_aside_at_s is not None and self.time_s >= machine.puts_aside_at_s:
            machine.puts_aside_at_s = None
            machine.put_aside()
        if machine.ejects_disks and name not in self.faults.keeps_drives:
            machine.lose_disks()
        up_s = self.time_s - machine.booted_at_s
        if up_s >= self.faults.restarts_after_s.get(name, up_s + 1):
            machine.resets += 1
            machine.start_boot(self.time_s)
            return
        unset = not machine.setup_boot_id and machine.disc and name not in self.faults.setup_never_ends
        if unset and up_s >= SETUP_AFTER_S:
            machine.setup_boot_id = self.set_up[name] = machine.boot_id
        in_setup_boot = machine.setup_boot_id == machine.boot_id and machine.instance.role.setup.restart
        if in_setup_boot and up_s >= SETUP_RESTART_AFTER_S:
            machine.resets += 1
            machine.start_boot(machine.booted_at_s + SETUP_RESTART_AFTER_S)

    def services_run(self, machine: FakeMachine) -> bool:
        """The truth about the guest: set up, restarted, and everything started."""
        alone = machine.instance.role.answers is AnswerFormat.NONE
        if machine.power is not Power.RUNNING or machine.stopped or not (machine.setup_boot_id or alone):
            return False
        if machine.instance.role.setup.restart and machine.setup_boot_id == machine.boot_id:
            return False
        if machine.instance.name in self.faults.services_never_start:
            return False
        role, faults = machine.instance.role, self.faults
        if role.user_data in faults.bad_user_data or role.image_sha256 in faults.bad_images:
            return False
        return machine.going_down_at_s is None and self.time_s - machine.booted_at_s >= SERVICES_AFTER_S

    def taken_drives(self, instance: Instance) -> dict[str, int]:
        """The drives that a VM starts with; as with QEMU's lock, no other VM has one of them open."""
        return self.open_drives(instance, set(instance.drives_now))

    def open_drives(self, instance: Instance, drives: set[str]) -> dict[str, int]:
        """How large each of them is; likewise."""
        for other in self.machines.values():
            both = drives & other.drives.keys() if other.power is not Power.OFF else set()
            assert not both or other.instance.name == instance.name, f"{both} of {other.instance.name} are taken"
        sizes = {drive: self.drives[drive].size_mib for drive in drives if drive in self.drives}
        if lost := [drive for drive in drives if sizes.get(drive) is None]:
            raise Permanent(f"the file of drive {lost[0]} is not there")
        return {drive: size for drive, size in sizes.items() if size is not None}

    def own_storage(self, instance: Instance) -> set[str]:
        """The local storage of a VM. Raises Permanent."""
        own = {one.name for one in instance.role.local_storage}
        if lost := own - self.storage.get(instance.name, {}).keys():
            raise Permanent(f"the file of local storage {min(lost)} is not there")
        return own

    def kill(self, name: InstanceName) -> None:
        """kill -9 of the VM."""
        if self.machines[name].power is not Power.OFF:
            self.machines[name].shut_down = False
        self.machines[name].power, self.machines[name].paused_by = Power.OFF, None
        self.machines[name].going_down_at_s, self.machines[name].stopped = None, False

    def restart_host(self) -> None:
        """The host starts again: what lay in memory is gone, and nothing runs."""
        self.host_boots += 1
        for name in self.in_ram:
            self.memories.pop(name, None)
        self.in_ram.clear()
        for name, machine in self.machines.items():
            self.kill(name)
            machine.has_port = False
        self.seats_taken.clear()
        self.connections.clear()
        self.networks.clear()
        self.given.clear()
        self.vips.clear()
        self.unplugged.clear()
        self.discs.clear()
        self.frontends = ()
        self.doors.clear()

    def delete_port(self, name: InstanceName) -> None:
        """What `ip link del` does to the port of a VM: nothing brings it back while the VM runs."""
        self.machines[name].has_port = False

    def is_cut_off(self, name: InstanceName) -> bool:
        """Whether the VM runs and nothing reaches it."""
        machine = self.machines.get(name)
        running = machine is not None and machine.power is Power.RUNNING
        return running and (name in self.unplugged or not self.machines[name].has_port)

    def carry(self, name: InstanceName, pool: PoolName, size_bytes: int) -> None:
        """A client's request and its answer."""
        self.bytes[name, pool] = self.bytes.get((name, pool), 0) + size_bytes

    def traffic_of(self, name: InstanceName, pool: PoolName) -> Traffic:
        """What a member carries in one of its pools; but for bytes, in each the same."""
        known = self.traffic.get(name, Traffic(open=0))
        size = self.bytes.get((name, pool))
        received, sent = (known.received_bytes, known.sent_bytes) if size is None else (size, size)
        return dataclasses.replace(
            known, open=self.connections.get(name, 0), received_bytes=received, sent_bytes=sent
        )

    def is_reachable(self, name: InstanceName) -> bool:
        """Whether a check of the balancer passes."""
        machine = self.machines.get(name)
        runs = machine is not None and machine.power is Power.RUNNING and not machine.stopped
        fails = self.faults.check_fails | self.faults.balancer_blind
        return runs and not self.is_cut_off(name) and name not in fails

    def say(self, name: InstanceName, says: Says, *, for_s: float = 0.0, reason: str = "") -> None:
        """The guest says so of itself, in its present boot, and waits until that is done."""
        until_s = self.now_s() + for_s if for_s else 0.0
        boot_id = self.machines[name].boot_id
        self.words[name] = Word(says=says, reason=reason, boot_id=boot_id, at_s=self.now_s(), until_s=until_s)
        self.unanswered.add(name)

    def part(self, name: InstanceName, *, lets_go: bool = False) -> None:
        """The guest asks, in its present boot, to be told of its end; or it lets go."""
        boot_id, now_s = self.machines[name].boot_id, self.now_s()
        asked = Parting(boot_id=boot_id, asked_at_s=now_s, let_go_at_s=now_s if lets_go else 0.0)
        self.partings[name] = asked

    def stop_qemu(self, name: InstanceName) -> None:
        """What SIGSTOP does to the VM's process."""
        self.machines[name].stopped = True

    def continue_qemu(self, name: InstanceName) -> None:
        """What SIGCONT does."""
        self.machines[name].stopped = False

    def pause(self, name: InstanceName, by: PausedBy) -> None:
        """Stops the VM's processor where it is: a human by virsh, or the hypervisor for want of room."""
        self.machines[name].power, self.machines[name].paused_by = Power.PAUSED, by

    def resume(self, name: InstanceName) -> None:
        """Lets a paused VM go on in the same boot."""
        self.machines[name].power, self.machines[name].paused_by = Power.RUNNING, None

    def check(self) -> None:
        """The invariants that must hold at every moment."""
        for name, seat in self.seats_taken.items():
            machine = self.machines.get(name)
            if machine is not None and machine.power is Power.RUNNING and seat.standing is Standing.UP:
                alone = machine.instance.role.answers is AnswerFormat.NONE
                assert machine.setup_boot_id or alone, f"{name} is in the pool before its setup"
                away = {one.name for one in machine.instance.role.local_storage} - machine.storage_mounted
                assert not away, f"{name} is in the pool without its local storage {away}"
                lacks = {one.of(machine.instance.index) for one in machine.instance.role.drives} - machine.mounted
                assert not lacks, f"{name} is in the pool without its drives {lacks}"
                assert not machine.clock_off_s, f"{name} is in the pool and does not know what time it is"
        for name in self.doors:
            machine = self.machines.get(name)
            assert machine is not None, f"{name} is reached without a VM"
            alone = machine.instance.role.answers is AnswerFormat.NONE
            assert machine.setup_boot_id or alone, f"{name} is reached before its setup"
        for name, machine in self.machines.items():
            assert machine.instance.generation in self.overlays.get(name, set()), f"{name}: a domain without overlay"

    def nothing_is_left(self) -> None:
        """What must hold after everything was deleted."""
        on_disk = (
            self.memories,
            self.layers,
            self.boards,
            self.overlays,
            self.storage,
            self.discs,
            self.identities,
            self.blobs,
            self.evidence,
        )
        leftovers = (*on_disk, self.machines, self.seats_taken, self.doors, self.networks, self.called, self.vips)
        assert not any(leftovers), leftovers
        assert not self.frontends, self.frontends
