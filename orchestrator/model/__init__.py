"""The nouns. Frozen values only: no I/O, no clock, no randomness; a change is a `dataclasses.replace`."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import re
import uuid
from collections.abc import Mapping
from typing import NewType

from orchestrator.errors import InvalidInput
from unattend.secret import SecretRef
from unattend.windows.answers import Answers, secrets_of

InstanceName = NewType("InstanceName", str)  # "web-0.shop": the DNS name, unique on the host
PoolName = NewType("PoolName", str)  # "shop.web.http": one endpoint of one role

# RFC 1123 section 2.1, shortened so that "role-9999" still fits in a DNS label and a bridge can carry it.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_IMAGE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
Path = tuple[str | int, ...]
Labels = tuple[tuple[str, str], ...]  # key and value, by key
Unknown = tuple[tuple[Path, str], ...]  # where in a record a newer version has put what this one does not know: JSON
BRIDGE_PREFIX = "vrb-"
TAP_PREFIX = "vrt-"
MAC_PREFIX = "52:54:00"  # QEMU's own, locally administered
INSTANCES_MAX = 100  # per role; the DHCP range of a service has room for 250


def label(text: str, what: str = "name") -> str:
    """`text` when it is an RFC 1123 label of at most 40 characters; raises InvalidInput otherwise."""
    if not _LABEL.fullmatch(text):
        raise InvalidInput(
            f"{what} {text[:80]!r} is not a label",
            hint="use 1 to 40 lower-case letters, digits and '-', beginning and ending with a letter or digit",
        )
    return text


def image_name(text: str) -> str:
    """`text` when it can name an image: a label that may hold dots and underscores; raises InvalidInput."""
    if not _IMAGE_NAME.fullmatch(text) or ".." in text or _SHA256.fullmatch(text):
        raise InvalidInput(
            f"image name {text[:80]!r} cannot be used",
            hint="use 1 to 63 lower-case letters, digits, '.', '_' and '-'; the first and last a letter or digit",
        )
    return text


def is_sha256(text: str) -> bool:
    """Whether `text` is a digest as we write it: 64 lower-case hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def instance_name(service: str, role: str, index: int) -> InstanceName:
    """`web-0.shop`: what the domain, the host name and the DNS name are made of."""
    return InstanceName(f"{role}-{index}.{service}")


def pool_name(service: str, role: str, endpoint: str) -> PoolName:
    """`shop.web.http`: labels hold no dots, so no two endpoints share a pool name."""
    return PoolName(f"{service}.{role}.{endpoint}")


# Images -------------------------------------------------------------------------------------------------------


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
    revision: int = 0


# What the user writes ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of the host one instance gets."""

    vcpus: int = 1
    memory_mib: int = 512
    disk_mib: int | None = None  # of the system disk; None: as large as the image


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that one instance may take of the host while others want it, too; None: what disturbs nobody.

    They are of the VM that runs: another limit needs no other VM.
    """

    cpu_weight: int | None = None  # its part of CPUs that all want; None: 100 for each vCPU
    cpu_limit_percent: int | None = None  # of a CPU of the host, for each vCPU; None: all of it
    disk_rate_mib_per_s: int | None = None  # read and written, of each disk
    disk_operations: int | None = None  # a second, of each disk
    network_rate_mib_per_s: int | None = None  # each way


class Mode(enum.StrEnum):
    """How the balancer treats an endpoint's connections."""

    TCP = "tcp"
    HTTP = "http"
    UDP = "udp"


class Carrier(enum.StrEnum):
    """Who carries an endpoint's connections to its members."""

    HAPROXY = "haproxy"
    NFTABLES = "nftables"  # the kernel itself: the member sees the client's own address


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe:
    """Passes when the port accepts a connection. `port` None means the endpoint's target."""

    port: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """Passes when GET `path` answers 2xx or 3xx. `port` None means the endpoint's target."""

    path: str = "/"
    port: int | None = None


Probe = TcpProbe | HttpProbe


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A port of the VIP and the port of the instances behind it."""

    name: str
    port: int
    target: int
    mode: Mode = Mode.TCP
    probe: Probe | None = None
    timeout_s: float | None = None  # how long either side may be silent; None: 60 s for http, an hour for tcp
    max_connections: int | None = None  # at a time; None: a share of what the host's memory is good for
    max_connections_per_client: int | None = None  # from one address; None: half of the endpoint's
    balancer: Carrier | None = None  # None: HAProxy, and for udp nftables
    affinity_s: float | None = None  # how long a client's address keeps its member (nftables); None: not at all

    @property
    def carrier(self) -> Carrier:
        """Who carries its connections."""
        return self.balancer or (Carrier.NFTABLES if self.mode is Mode.UDP else Carrier.HAPROXY)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalStorage:
    """A disk of each instance that survives restart and reimage; a guest sees it as /local/NAME."""

    name: str
    size_mib: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What happens at the first boot of a generation, and how long it may take (seconds)."""

    restart: bool = True
    within_s: float = 600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """When an instance is ready, beyond the default that all auto-start services have started."""

    units: tuple[str, ...] = ()  # systemd units that must be active, or Windows services that must run
    ignore: tuple[str, ...] = ()  # units or services whose failure does not matter
    delayed: bool = False  # whether Windows services with a delayed start are waited for
    command: tuple[str, ...] = ()  # argv that must exit 0 inside the guest
    probe: Probe | None = None  # asked from the host; its port must be set
    within_s: float = 300.0
    silence_s: float = 600.0  # how long the agent of a role without endpoints may be silent while it serves
    agent: bool = True  # False: the guest has none; the monitor and the probe are all that is asked


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How long a guest may take to shut down (seconds) before it is reset or ended; None: as usual for its system."""

    within_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How long a guest may take to come back after its shutdown (seconds); None: as usual for its system."""

    within_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Image, count, size, endpoints, local storage and answers of one kind of instance."""

    name: str
    image: str  # as the user wrote it
    image_sha256: str  # what it meant when the service was applied
    image_format: DiskFormat = DiskFormat.QCOW2
    image_mib: int = 0  # of its disk; what an overlay may come to hold
    os: Os = Os.LINUX
    answers: AnswerFormat = AnswerFormat.NOCLOUD
    hardware: Hardware = Hardware()
    instances: int = 1
    size: Size = Size()
    limits: Limits = Limits()
    endpoints: tuple[Endpoint, ...] = ()
    local_storage: tuple[LocalStorage, ...] = ()
    user_data: str = dataclasses.field(default="", repr=False)  # may hold secrets
    user_data_from: SecretRef | None = None  # the same, kept elsewhere because it holds passwords or keys
    vendor_data: str = dataclasses.field(default="", repr=False)
    admin_password: SecretRef | None = None  # what cloudbase-init gives the user that its image names
    public_keys: tuple[str, ...] = ()  # lines of an authorized_keys file, for that user or cloud-init's
    install_agent: bool = False  # cloud-init installs QEMU's guest agent, which the image lacks
    keep_ssh_host_keys: bool = False  # each instance has the same SSH host keys in all its generations
    unattend: Answers | None = None  # for images that answer from Unattend.xml
    setup: Setup = Setup()
    ready: Ready = Ready()
    drain_s: float = 30.0
    stop: Stop = Stop()
    restart: Restart = Restart()
    labels: Labels = ()  # its own, and those of its service
    unknown: Unknown = dataclasses.field(default=(), repr=False)

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Every secret that an answer disc of this role holds."""
        cloud = tuple(one for one in (self.user_data_from, self.admin_password) if one is not None)
        return cloud if self.unattend is None else (*cloud, *secrets_of(self.unattend))

    def template(self) -> Role:
        """The part that a VM is built from: two roles with equal templates need no reimage between them."""
        return dataclasses.replace(
            self,
            image="",
            image_mib=0,
            instances=0,
            limits=Limits(),
            endpoints=(),
            setup=Setup(restart=self.setup.restart),
            ready=Ready(),
            drain_s=0,
            stop=Stop(),
            restart=Restart(),
            labels=(),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """What the user deploys: one virtual address, one or more roles."""

    name: str
    vip: str  # "" for a service without endpoints
    roles: tuple[Role, ...]
    labels: Labels = ()

    def role(self, name: str) -> Role | None:
        """The role called `name`, if there is one."""
        return next((role for role in self.roles if role.name == name), None)


# What we allocate --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNetwork:
    """The private network of one service. `subnet` in CIDR; the host is `gateway` on `bridge` (<= 15 chars)."""

    name: str  # libvirt network: "vmrole-shop"
    bridge: str
    subnet: str
    gateway: str

    @property
    def prefix_length(self) -> int:
        """Bits of the netmask, e.g. 24."""
        return ipaddress.ip_network(self.subnet).prefixlen


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An instance's place in its service's network: allocated by us, never learned from the guest."""

    mac: str
    address: str  # the DIP
    tap: str  # host-side interface, <= 15 chars
    gateway: str = ""  # the host, which is the name server as well
    prefix_length: int = 24


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as recorded: the spec belongs to the API, so does `removing`; the network is allocated once."""

    spec: ServiceSpec
    network: ServiceNetwork
    removing: bool = False
    created_at_s: float = 0.0
    revision: int = 0

    @property
    def name(self) -> str:
        """The name under which everything of the service is found."""
        return self.spec.name


# Instances ---------------------------------------------------------------------------------------------------


class Phase(enum.StrEnum):
    """How far an instance has come. Only the reconciler writes it; `lifecycle` says what each one does."""

    REQUESTED = "requested"  # recorded; nothing of this generation exists on the host yet
    LAYERED = "layered"  # the overlay lies on the image
    ANSWERED = "answered"  # the answer disc is written
    SETUP = "setup"  # the VM runs; setup goes through its restart
    STARTING = "starting"  # setup is complete; auto-start services are starting
    READY = "ready"  # all have started; joining the pool
    SERVING = "serving"  # in rotation
    DRAINING = "draining"  # out of rotation; open connections finish
    RESTARTING = "restarting"  # the guest goes through a restart
    STOPPING = "stopping"  # the VM is being shut down
    HALTING = "halting"  # the same, of one that shall be off and stay as it is
    STOPPED = "stopped"  # off, because somebody asked for that, until somebody starts it
    ERASING = "erasing"  # VM, overlay and disc are being removed
    FAILED = "failed"  # keeps its evidence until a human or the healing ladder acts
    GONE = "gone"  # nothing is left; the record goes with the last save


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
    halts: int = 0  # how many times its being off or on was changed: odd, it shall be off and stay off

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

    phase: Phase = Phase.REQUESTED
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
    forced: bool = False  # whether this phase had to reset or end the VM, because the guest did not do as asked
    powered_on: bool = False  # whether, in this phase, its VM was off or reset: the guest is in another boot
    by_request: bool = False  # whether its present boot was asked for by somebody, and it has not served since
    only_probe: bool = False  # whether a probe alone speaks against it: its agent answers, its services have started
    unwell_since_s: float = 0.0  # since when the health check fails while serving; 0 = it passes
    waiting: str = ""  # one sentence: what this phase waits for
    services_pending: tuple[str, ...] = ()  # those that have not started in this boot, as told last
    services_failed: tuple[str, ...] = ()  # those that have failed to
    warning: str = ""  # one sentence: what the last stop or restart cost beyond what it should
    failure: str = ""  # one sentence: why the instance failed, and in which phase
    retry_at_s: float = 0.0  # failed while it was leaving: when that is tried again; 0 = it did not
    revisit_at_s: float = 0.0  # failed together with others of its role: when it is looked at again; 0 = it did not
    strikes: int = 0  # healing attempts since it last served
    restarts: tuple[float, ...] = ()  # when the guest restarted by itself: the last few times
    calms: int = 0  # how often its restarting for ever has been waited out
    calm_until_s: float = 0.0  # until when it is waited out now; 0 = it is not
    served_at_s: float = 0.0  # when this generation last entered rotation; 0 = it has not yet
    made_at_s: float = 0.0  # when it was wished for the first time
    wish_revision: int = 0
    state_revision: int = 0  # 0: it has had no turn yet

    @property
    def revision(self) -> int:
        """Rises whenever anything of the instance is written; 0: it is not stored yet."""
        return max(self.wish_revision, self.state_revision)

    @property
    def hostname(self) -> str:
        """`web-0`: what the guest calls itself."""
        return f"{self.role_name}-{self.index}"

    @property
    def vm_uuid(self) -> str:
        """The domain UUID of this generation: known before the domain exists, new for each generation."""
        return str(uuid.uuid5(uuid.UUID(self.uid), f"generation {self.generation}"))

    @property
    def at(self) -> Incarnation:
        """Where the instance is; compare with `goal.wanted`."""
        return Incarnation(self.generation, self.boot)

    @property
    def going(self) -> bool:
        """Whether somebody has asked for the end of this generation: a removal, or a reimage."""
        return not self.goal.serve or self.goal.wanted.generation > self.generation

    @property
    def held(self) -> bool:
        """Whether nothing may be begun with it or its VM: it is protected, and to stay."""
        return self.goal.protected and self.goal.serve

    @property
    def restart_asked(self) -> bool:
        """Whether somebody has asked for a restart that has yet to come."""
        return not self.going and self.goal.wanted > self.at

    @property
    def stale(self) -> bool:
        """Whether its VM is built from something else than the service's file says by now."""
        return self.role.template() != self.goal.role.template()


# What the world shows ----------------------------------------------------------------------------------------


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
    resets: int = 0  # guest resets seen by the monitor since this process watches; a hint, never proof
    disc: str = ""  # path of the answer disc in the drive, "" when empty
    claimed: bool = True  # False: a former version made it and did not say which installation it is of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The agent does not answer. Normal for minutes while a guest starts."""

    reason: str
    rebooting: bool = False  # the monitor saw a reset and the agent has not been back since
    absent: bool = False  # no agent is connected at all
    frozen: bool = False  # the agent lives, and may say nothing while a backup has frozen the guest's file systems


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The guest's auto-start services. Names are shortened and free of control characters."""

    started: bool  # everything that starts by itself has started
    pending: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    note: str = ""  # e.g. "cloud-init: running", "systemd: starting"
    verdict: str = ""  # an error of a setup that is over: waiting mends it as little as a restart or a reimage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance as the balancer knows it: one address behind every endpoint of its role."""

    name: InstanceName
    address: str
    pools: tuple[tuple[PoolName, int], ...]  # pool, port on the instance


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
class Frontend:
    """A port of a VIP that the balancer listens on."""

    pool: PoolName
    vip: str
    port: int
    mode: Mode
    probe: Probe | None
    timeout_s: float | None = None  # see Endpoint, also for the next two
    connections_max: int | None = None
    client_connections_max: int | None = None
    carrier: Carrier = Carrier.HAPROXY
    affinity_s: float | None = None


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


# The ledger and long work ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the ledger: something that happened to `subject` (an instance, a service or an image)."""

    at_s: float
    subject: str
    message: str
    phase: str = ""
    generation: int = 0
    boot: int = 0
    number: int = 0  # given by the store, rising


class Verb(enum.StrEnum):
    """What can be asked of instances that exist."""

    RESTART = "restart"
    REIMAGE = "reimage"
    REBUILD = "rebuild"  # a reimage that makes local storage new as well
    STOP = "stop"  # shut down, and off until it is started
    START = "start"


class Progress(enum.StrEnum):
    """How far an operation is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # what it brought about is no longer wanted; a newer operation goes on


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Long work over several instances, `together` of them at a time; survives a restart of the daemon."""

    id: str
    verb: Verb
    subject: str  # what the user named: "web-0.shop", "web.shop" (a role) or "shop"
    service: str
    targets: tuple[tuple[InstanceName, Incarnation], ...]
    storage: tuple[int, ...] = ()  # of a rebuild: how often each target's local storage shall have been made new
    halts: tuple[int, ...] = ()  # of a stop or start: what each target's count of them shall have come to
    together: int = 1
    progress: Progress = Progress.RUNNING
    message: str = ""
    created_at_s: float = 0.0
    revision: int = 0
