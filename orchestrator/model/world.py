"""What the world shows: VMs, guests, members of pools."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from orchestrator.model.naming import InstanceName, PoolName
from orchestrator.model.template import Carrier, EndpointProbe, Mode, Ports
from orchestrator.model.tls import Certificate


class Power(enum.StrEnum):
    """The state of a domain, as far as we care."""

    RUNNING = "running"
    OFF = "off"
    PAUSED = "paused"  # by whom: `Domain.paused_by`
    CRASHED = "crashed"  # the guest panicked


class PausedBy(enum.StrEnum):
    """Who paused a VM, and with it whose turn it is.

    USER: somebody outside of vmrole did (`virsh suspend`). It is his to resume, and until then the VM is left alone.
    DISK: the hypervisor did, because a disk of the host failed or is full; `Hypervisor.start` lets it go on.
    OTHER: anything else, usually for seconds: it is being started, saved, snapshotted, moved; the guest sleeps.
    """

    USER = "user"
    DISK = "disk"
    OTHER = "other"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A VM of ours as the hypervisor shows it."""

    name: InstanceName
    uuid: str
    generation: int
    power: Power
    reason: str = ""  # the hypervisor's word for why, e.g. "no space on the host's disk"
    paused_by: PausedBy | None = None  # not None exactly while `power` is PAUSED
    shut_down: bool | None = None  # of one that is off: whether its guest did that; None: that is not known yet
    stuck: str = ""  # why the VM does not go on though it runs: its QEMU answers nobody; "" when it does
    resets: int = 0  # guest resets seen by the monitor since this process watches; a hint, never proof
    disc: str = ""  # path of the answer disc in the drive, "" when empty
    disks: frozenset[str] = frozenset()  # serial numbers of those that it has now, that of the system apart
    claimed: bool = True  # False: a former version made it and did not say which installation it is of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The agent does not answer. Normal for minutes while a guest starts."""

    reason: str
    rebooting: bool = False  # the monitor saw a reset and the agent has not been back since
    absent: bool = False  # no agent is connected at all
    frozen: bool = False  # the agent lives, and may say nothing while a backup has frozen the guest's file systems
    broken: bool = False  # something is connected as the agent, and nothing can be made of what it sends


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended that somebody had run in a guest, and what it printed."""

    status: int  # exit status; -1 when a signal ended it
    output: bytes = b""
    errors: bytes = b""
    whole: bool = True  # False: it printed more than is kept


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which boot the guest is in. Ids are lower-case UUIDs, checked by the driver; "" where unknown."""

    boot_id: str
    setup_boot_id: str = ""  # written by the answer disc's own script in the setup boot
    source: str = "files"  # how it was learned: "files", "exec", "ping" when the agent allows neither, "none" without
    unfinished: str = ""  # what setup still does, in words, where the guest tells; "" when it is complete
    confined: str = ""  # why the agent may not read what it is asked for, and the remedy; its source is "ping" then

    @property
    def by_monitor(self) -> bool:
        """Whether nothing inside tells of boots and setup, so that the monitor's word is all there is."""
        return self.source in ("ping", "none")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What a guest's agent says of itself and its system: hostile words, shortened and without control characters."""

    host_name: str = ""
    system: str = ""  # "Debian GNU/Linux 12 (bookworm)", "Windows Server 2022 Standard"
    version: str = ""  # the agent's own
    allowed: tuple[str, ...] = ()  # the commands that vmrole has a use for and may call
    forbidden: tuple[str, ...] = ()  # those that this agent does not allow or does not know
    marks: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what each system has of its own -> digest


class UnitState(enum.StrEnum):
    """Why a unit is not as it should be."""

    PENDING = "pending"  # it is starting, or waited for
    ABSENT = "absent"  # there is none of that name, and it is waited for
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit, a Windows service, or a part of setup, that has not started; `str` is what people read.

    `name` is "" where it is none in particular. Both texts are shortened and free of control characters.
    """

    name: str
    state: UnitState
    detail: str = ""  # the guest's own word for its state, or why it failed

    def __str__(self) -> str:
        if not self.name or not self.detail:
            return self.name or self.detail
        return f"{self.name} ({self.detail})" if self.state is UnitState.PENDING else f"{self.name}: {self.detail}"


def pending(units: tuple[Unit, ...]) -> tuple[str, ...]:
    """What is still waited for, as people read it."""
    return tuple(str(unit) for unit in units if unit.state is not UnitState.FAILED)


def failed(units: tuple[Unit, ...]) -> tuple[str, ...]:
    """What has failed, as people read it."""
    return tuple(str(unit) for unit in units if unit.state is UnitState.FAILED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The guest's auto-start services."""

    started: bool  # everything that starts by itself has started
    units: tuple[Unit, ...] = ()  # those that have not
    note: str = ""  # e.g. "cloud-init: running", "systemd: starting"
    verdict: str = ""  # an error of a setup that is over: waiting mends it as little as a restart or a reimage
    unheard: bool = False  # the guest has been asked, and its answer is yet to come

    @property
    def pending(self) -> tuple[str, ...]:
        """What is still waited for, as people read it."""
        return pending(self.units)

    @property
    def failed(self) -> tuple[str, ...]:
        """What has failed, as people read it."""
        return failed(self.units)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance as the balancer knows it: one address behind every endpoint of its role."""

    name: InstanceName
    address: str
    pools: tuple[tuple[PoolName, int], ...]  # pool, port on the instance; of several the first
    address6: str = ""  # where the kernel sends clients of a VIP of IPv6; "" while it has none

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that it has: what is open may have been begun by another family than that of the VIP of now."""
        return (self.address, self.address6) if self.address6 else (self.address,)

    def behind(self, frontend: Frontend | None) -> str:
        """The address at which it is reached from there: only the kernel needs one of the VIP's family."""
        by_ipv6 = frontend is not None and frontend.carrier is Carrier.NFTABLES and ":" in frontend.vip
        return self.address6 if by_ipv6 else self.address


class Standing(enum.StrEnum):
    """How the balancer sees a member."""

    UP = "up"
    DOWN = "down"  # its health check fails
    DRAINING = "draining"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A member's place in the balancer, over all its pools: UP only when up in all of them."""

    address: str
    standing: Standing
    connections: int  # open ones, queued ones included
    pools: tuple[PoolName, ...]
    checked: bool = True  # False: it counts as up because it has not been checked yet


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What a member, or a whole pool, carries and has carried; None where its balancer does not count that.

    What has been is counted since the balancer was loaded last, of a member since it came.
    """

    open: int  # connections, of http requests, now; queued ones included
    begun: int | None = None  # those that were begun; a member's are all that were tried with it
    received_bytes: int | None = None  # from clients
    sent_bytes: int | None = None
    refusals: int | None = None  # answers 400 to 499, mostly the client's doing; of nftables who was let in by nobody
    errors: int | None = None  # answers 500 to 599, connections that could not be made, answers that broke off


def total(traffic: Collection[Traffic]) -> Traffic:
    """All of it together; None where it is not counted of all of them, or there is none."""

    def summed(counts: Iterable[int | None]) -> int | None:
        numbers = list(counts)
        known = [number for number in numbers if number is not None]
        return sum(known) if numbers and len(known) == len(numbers) else None

    return Traffic(
        open=sum(one.open for one in traffic),
        begun=summed(one.begun for one in traffic),
        received_bytes=summed(one.received_bytes for one in traffic),
        sent_bytes=summed(one.sent_bytes for one in traffic),
        refusals=summed(one.refusals for one in traffic),
        errors=summed(one.errors for one in traffic),
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The traffic of one pool. `whole` counts those who have left, too, and what found no member."""

    whole: Traffic
    members: Mapping[InstanceName, Traffic]

    @classmethod
    def by(cls, members: Mapping[InstanceName, Traffic]) -> Carried:
        """Where nothing but the members is counted."""
        return cls(whole=total(members.values()), members=members)


PROBES_KEPT: Final = 10  # results of each member of a pool that are remembered


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One result of our own check of a member. `why` "": it passed."""

    at_s: float  # since the epoch
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """A port of a VIP that the balancer listens on, or several; without a VIP a pool that no client reaches."""

    pool: PoolName
    vip: str  # "": nobody listens, and members are asked how they are as ever
    port: int
    mode: Mode
    probe: EndpointProbe | None
    timeout_s: float | None = None  # see Endpoint, also for the next two
    connections_max: int | None = None
    client_connections_max: int | None = None
    carrier: Carrier = Carrier.HAPROXY
    affinity_s: float | None = None
    affinity_cookie: bool = False
    service: str = ""  # whose secrets its certificates are
    certificates: tuple[Certificate, ...] = ()  # of tls with clients; the first is for whoever asks for no name
    allow: tuple[str, ...] = ()  # see Endpoint, also for the next two
    proxy_protocol: bool = False
    member_connections: int | None = None
    redirect_to: int | None = None  # it has no members and sends clients on to https at this port
    range: Ports | None = None  # all ports that it listens on; the first is `port`
    each: bool = False  # of these each leads to one instance by itself, the first to that of index 0

    @property
    def ports(self) -> Collection[int]:
        """Those that it listens on."""
        return (self.port,) if self.range is None else tuple(self.range)

    @property
    def probed_by_proxy(self) -> bool:
        """Whether a check says PROXY first: a probe's own port is no door of clients, and waits for nothing."""
        return self.proxy_protocol and (self.probe is None or self.probe.port is None)


class Part(enum.StrEnum):
    """A part of a service's network, by the code under which `verify` tells that it is missing."""

    NETWORK = "NETWORK-MISSING"
    PORT = "PORT-MISSING"
    VIP = "VIP-MISSING"
    ROUTING = "ROUTING-OFF"
    FIREWALL = "FIREWALL-MISSING"


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """A part that is not as it was laid; `subject` is the service or, for a port, the instance."""

    part: Part
    subject: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """A line for the ledger: what somebody did to the network of a service or an instance, or what a guest does."""

    subject: str
    message: str
