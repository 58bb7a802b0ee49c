"""What the user writes of a service and its roles."""

from __future__ import annotations

import dataclasses
import enum
import operator
from collections.abc import Iterator
from typing import Any, Final, Literal

from vmrole_unattend.secret import SecretRef
from vmrole_unattend.windows.answers import Answers, secrets_of

from orchestrator.model.checkpoint import Checkpoints, Fitness, Road
from orchestrator.model.devices import Devices
from orchestrator.model.drive import RoleDrive
from orchestrator.model.healing import Healing, ServiceHealing
from orchestrator.model.image import AnswerFormat, DiskFormat, Hardware, Os
from orchestrator.model.lan import RoleNetwork
from orchestrator.model.lease import Leasing
from orchestrator.model.naming import Labels, Unknown
from orchestrator.model.share import Share
from orchestrator.model.tls import Certificate, Tls
from orchestrator.model.topology import Topology
from orchestrator.model.upgrade import Upgrade


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of the host one instance gets."""

    vcpus: int = 1
    memory_mib: int = 512
    disk_mib: int | None = None  # of the system disk; None: as large as the image


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that one instance takes of the host while others want it, too; None: what disturbs nobody."""

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


PROBE_INTERVAL_S: Final = 1.0
PROBE_TIMEOUT_S: Final = 2.0
PROBE_RISE: Final = 1
PROBE_FALL: Final = 2
PROBE_STATUS: Final = "200-399"
COMMAND_INTERVAL_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """Where and how often a member is asked, and how many answers count. None of `port`: the target; else: usual."""

    port: int | None = None
    interval_s: float | None = None
    timeout_s: float | None = None
    rise: int | None = None
    fall: int | None = None
    initial_delay_s: float | None = None  # after it has joined; until then it counts as up

    def interval(self) -> float:
        """How often it is asked, in seconds."""
        return self.interval_s or max(PROBE_INTERVAL_S, self.timeout_s or 0.0)

    def timeout(self) -> float:
        """How long an answer may take, in seconds."""
        return self.timeout_s or min(PROBE_TIMEOUT_S, self.interval_s or PROBE_TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe(_Probe):
    """Passes when the port accepts a connection."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe(_Probe):
    """Passes when GET `path` answers with one of the statuses."""

    path: str = "/"
    status: str | None = None  # such as 200-299,401; None: 2xx and 3xx

    def passes(self, status: int) -> bool:
        """Whether a member that answers so is well."""
        ranges = (part.partition("-") for part in (self.status or PROBE_STATUS).split(","))
        return any(int(first) <= status <= int(last or first) for first, _, last in ranges)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommandProbe(_Probe):
    """Passes when `command` (argv), which the agent runs inside the guest, exits 0. It has no port."""

    command: tuple[str, ...]

    def interval(self) -> float:
        """See _Probe: a process of the guest's costs more than a connection."""
        return self.interval_s or max(COMMAND_INTERVAL_S, self.timeout_s or 0.0)

    def timeout(self) -> float:
        """See _Probe."""
        return self.timeout_s or min(COMMAND_TIMEOUT_S, self.interval_s or COMMAND_TIMEOUT_S)


Probe = TcpProbe | HttpProbe  # asked from the host
EndpointProbe = Probe | CommandProbe  # Who asks the guest for its own word will find a place here.


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """Ports that follow each other."""

    first: int
    last: int

    @property
    def number(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}" if self.last > self.first else str(self.first)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A port of the VIP and the port of the instances behind it, or several that follow each other."""

    name: str
    port: int  # the first
    target: int  # that of the first; the others follow
    range: Ports | None = None  # of the VIP; None: one port
    mode: Mode = Mode.TCP
    probe: EndpointProbe | None = None
    timeout_s: float | None = None  # how long either side may be silent; None: 60 s for http, an hour for tcp
    max_connections: int | None = None  # at a time; None: a share of what the host's memory is good for
    max_connections_per_client: int | None = None  # from one address; None: half of the endpoint's
    balancer: Carrier | None = None  # None of tcp is of a former version: HAProxy
    affinity_s: float | None = None  # how long a client's address keeps its member; None: not at all
    kept_by: Literal["cookie"] | None = None  # by what else a client keeps its member
    tls: Tls | None = None  # with clients; members are spoken to in the clear
    allow: tuple[str, ...] = ()  # networks (CIDR) that clients may come from; (): any
    proxy_protocol: Literal[True] | None = None  # a member is told by PROXY where a client comes from
    member_connections: int | None = None  # that a member gets at a time, the others wait; None: all at once

    @property
    def carrier(self) -> Carrier:
        """Who carries its connections."""
        return self.balancer or (Carrier.NFTABLES if self.mode is Mode.UDP else Carrier.HAPROXY)

    @property
    def ports(self) -> tuple[int, ...]:
        """Those of the VIP that it takes."""
        redirect = self.tls and self.tls.redirect_from
        return (*(self.range or (self.port,)), *((redirect,) if redirect else ()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEndpoint:
    """A port of the VIP for each instance of the role: the first of `ports` leads to the one of index 0."""

    name: str
    ports: Ports
    target: int  # of the instance
    mode: Mode = Mode.TCP  # or UDP
    allow: tuple[str, ...] = ()  # see Endpoint


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InternalEndpoint:
    """What instances of other roles of the service reach of the role's instances, by their own addresses."""

    name: str
    ports: Ports | None = None  # None: all, of all protocols
    mode: Mode | None = None  # TCP or UDP; None: both
    callers: tuple[str, ...] = ()  # the roles that reach it; (): all


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
    watch: bool = False  # whether what has failed after the start is looked for while it serves
    silence_s: float = 600.0  # how long the agent of a role without endpoints may be silent while it serves
    guest: bool = False  # whether its guest must have said, by its channel, that it is ready
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
    instance_endpoints: tuple[InstanceEndpoint, ...] = ()
    internal_endpoints: tuple[InternalEndpoint, ...] = ()
    local_storage: tuple[LocalStorage, ...] = ()
    drives: tuple[RoleDrive, ...] = ()
    shares: tuple[Share, ...] = ()
    network: RoleNetwork = RoleNetwork()
    devices: Devices = Devices()
    libvirt_xml: str = ""  # in its VMs beside ours, as `model.libvirt_xml` lets it through
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
    healing: Healing = Healing()
    keep_failed_disk: bool = False  # the system disk of what healing makes anew is kept for a while, as evidence
    reimage: Road = Road.COLD  # the warmest that may be taken
    checkpoint: Checkpoints = Checkpoints()
    fitness: Fitness = Fitness()  # of its image, when the service was applied
    lease: Leasing = Leasing()
    topology: Topology = Topology.BLAST  # how its guests learn that peers have come or gone
    after: tuple[str, ...] = ()  # roles of its service that serve before its instances begin
    labels: Labels = ()  # its own, and those of its service
    unknown: Unknown = dataclasses.field(default=(), repr=False)

    @property
    def faces(self) -> tuple[Endpoint | InstanceEndpoint, ...]:
        """Those of its endpoints that clients reach at the VIP."""
        return (*self.endpoints, *self.instance_endpoints)

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Every secret that an answer disc of this role holds."""
        cloud = tuple(one for one in (self.user_data_from, self.admin_password) if one is not None)
        return cloud if self.unattend is None else (*cloud, *secrets_of(self.unattend))

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate that an endpoint of this role shows."""
        return tuple(one for end in self.endpoints if end.tls is not None for one in end.tls.certificates)

    def template(self) -> Role:
        """The part that a VM is built from: two roles with equal templates need no reimage between them."""
        return dataclasses.replace(self, setup=Setup(restart=self.setup.restart), **_NOT_BUILT_FROM)

    def builds_like(self, other: Role) -> bool:
        """Whether their templates are equal."""
        return self is other or _built_from(self) == _built_from(other)


# What a VM is not built from, and what stands in its place in a template. Of the setup it is built from `restart`.
_NOT_BUILT_FROM: dict[str, Any] = {
    "image": "",
    "image_mib": 0,
    "instances": 0,
    "limits": Limits(),
    "endpoints": (),
    "instance_endpoints": (),
    "internal_endpoints": (),
    "ready": Ready(),
    "drain_s": 0,
    "stop": Stop(),
    "restart": Restart(),
    "healing": Healing(),
    "keep_failed_disk": False,
    "reimage": Road.COLD,
    "checkpoint": Checkpoints(),
    "fitness": Fitness(),
    "lease": Leasing(),
    "topology": Topology.BLAST,
    "after": (),
    "labels": (),
}
_built_from = operator.attrgetter(
    *(one.name for one in dataclasses.fields(Role) if one.name not in {*_NOT_BUILT_FROM, "setup"}), "setup.restart"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """What the user deploys: one virtual address, one or more roles."""

    name: str
    vip: str  # "" for a service without endpoints
    roles: tuple[Role, ...]
    labels: Labels = ()
    upgrade: Upgrade = Upgrade()
    shared_vip: bool = False  # whether other services that say so may have endpoints at the same address
    staging_vip: str = ""  # of the deployment in the staging slot; "": that has none
    healing: ServiceHealing = ServiceHealing()

    def role(self, name: str) -> Role | None:
        """The role called `name`, if there is one."""
        return next((role for role in self.roles if role.name == name), None)
