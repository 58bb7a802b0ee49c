"""What goes over the wire, for type checkers: docs/openapi.json as types.

Nothing imports it at run time: building these classes would cost the command line its quick start.
"""

# Nobody changes this file by hand: python -m tests.unit.api.test_openapi

from typing import Literal, NotRequired, TypedDict

class Account(TypedDict):
    name: str
    password: SecretRef
    group: str
    display_name: str
    description: str

class Agent(TypedDict):
    host_name: str
    system: str
    version: str
    allowed: list[str]
    forbidden: list[str]
    marks: dict[str, str]

AnswerFormat = Literal["nocloud", "configdrive", "unattend", "none"]

class Answers(TypedDict):
    windows: Windows
    edition: Edition
    architecture: Architecture
    computer_name: str
    time_zone: str
    locale: str
    ui_language: str
    keyboard: str
    organization: str
    owner: str
    product_key: SecretRef | None
    administrator_password: SecretRef | None
    accounts: list[Account]
    join: Join
    static_network: bool
    remote_desktop: bool
    firewall_groups: list[str]
    specialize: list[Command]
    first_logon: list[str]
    scripts: list[Script]
    own_xml: str
    own_xml_from: SecretRef | None

AnswersRestart = Literal["Never", "Always", "OnRequest"]

class AppliedView(TypedDict):
    service: ServiceView | None
    changes: list[Change]
    operation: Operation | None

Architecture = Literal["amd64", "x86", "arm64"]

class Arrival(TypedDict):
    name: str
    step: Step
    copied_bytes: int
    percent: float | None

class AttachWish(TypedDict):
    instance: str
    name: NotRequired[str]
    mounted: NotRequired[bool]

class AttachedView(TypedDict):
    drive: DriveView
    told: str

class Attends(TypedDict):
    attended: NotRequired[bool]

class AutomationWish(TypedDict):
    service: NotRequired[str]
    paused: bool

class BlobTaken(TypedDict):
    taken: int
    blob: BlobView | None

class BlobView(TypedDict):
    name: str
    version: str
    size_bytes: int
    sha256: str
    put_at_s: float

class Capsule(TypedDict):
    instance: str
    mark: str
    at_s: float
    size_bytes: int
    reason: str
    files: list[str]

class CardView(TypedDict):
    bridge: str
    mac: str
    address: str
    refused: str

Carrier = Literal["haproxy", "nftables"]

class CauseView(TypedDict):
    kind: Kind
    whose: Whose | None
    subject: str

class Certificate(TypedDict):
    certificate: SecretRef
    key: SecretRef | None

class Change(TypedDict):
    key: str
    before: str
    after: str
    effect: str

class CheckedView(TypedDict):
    service: str
    changes: list[Change]
    refusal: ProblemBody | None

class Checkpoints(TypedDict):
    max_age_s: float
    memory: bool
    refresh: bool

class Command(TypedDict):
    line: str
    description: str
    restart: AnswersRestart

class CommandProbe(TypedDict):
    port: int | None
    interval_s: float | None
    timeout_s: float | None
    rise: int | None
    fall: int | None
    initial_delay_s: float | None
    command: list[str]

class CommandView(TypedDict):
    id: str
    ended: bool
    status: int | None
    output: str
    errors: str
    whole: bool

class CommandWish(TypedDict):
    command: list[str]
    input: NotRequired[str]

class Compared(TypedDict):
    name: str
    instances: int
    serving: int
    up: int | None
    unwell: int
    failed: int
    strikes: int
    begun: int | None
    errors: int | None

class Counts(TypedDict):
    roles: dict[str, int]

class Deadlines(TypedDict):
    setup_s: float
    ready_s: float

class Devices(TypedDict):
    cpu_model: str
    sockets: int | None
    cores: int | None
    threads: int | None
    disk_cache: DiskCache
    screen: bool
    hugepages: bool
    pci: list[str]

DiskBus = Literal["virtio", "sata", "nvme"]

DiskCache = Literal["writeback", "writethrough", "none", "directsync"]

DiskFormat = Literal["qcow2", "raw"]

class Documents(TypedDict):
    documents: list[str]
    slot: NotRequired[Slot]

class DriveView(TypedDict):
    name: str
    size_mib: int
    used_bytes: int
    missing: bool
    instance: str | None
    attached: bool
    made_at_s: float
    snapshots: list[SnapshotFile]
    revision: int

class DriveWish(TypedDict):
    name: str
    size_mib: int

Edition = Literal["server", "client"]

class Endpoint(TypedDict):
    name: str
    port: int
    target: int
    range: Ports | None
    mode: Mode
    probe: TcpProbe | HttpProbe | CommandProbe | None
    timeout_s: float | None
    max_connections: int | None
    max_connections_per_client: int | None
    balancer: Carrier | None
    affinity_s: float | None
    kept_by: Literal["cookie"] | None
    tls: Tls | None
    allow: list[str]
    proxy_protocol: Literal[True] | None
    member_connections: int | None

class EndpointView(TypedDict):
    role: str
    name: str
    port: int
    whole: Traffic | None
    members: dict[str, Traffic]
    probed: dict[str, list[Probed]]
    doors: dict[str, int]

class Event(TypedDict):
    at_s: float
    subject: str
    message: str
    phase: str
    generation: int
    boot: int
    number: int

class Finding(TypedDict):
    code: str
    subject: str
    message: str
    stray: bool

Firmware = Literal["bios", "uefi", "secure-boot"]

class Fitness(TypedDict):
    warmest: Road
    why: str

class Hardware(TypedDict):
    firmware: Firmware
    disk_bus: DiskBus
    tpm: bool

class Healing(TypedDict):
    ladder: Ladder
    max_unavailable: int | None
    max_unavailable_percent: int | None

class Health(TypedDict):
    status: str
    version: str
    revision: int

class HostKeys(TypedDict):
    name: str
    hosts: list[str]
    keys: list[str]
    kept: bool

class HttpProbe(TypedDict):
    port: int | None
    interval_s: float | None
    timeout_s: float | None
    rise: int | None
    fall: int | None
    initial_delay_s: float | None
    path: str
    status: str | None

class Image(TypedDict):
    sha256: str
    format: DiskFormat
    os: Os
    size_bytes: int
    virtual_size_bytes: int
    names: list[str]
    added_at_s: float
    answers: AnswerFormat
    hardware: Hardware
    suggested: Deadlines | None
    source_sha256: str
    tried: Tried | None
    suspect: str
    trusted_at_s: float
    revision: int

class Incarnation(TypedDict):
    generation: int
    boot: int

class InstanceEndpoint(TypedDict):
    name: str
    ports: Ports
    target: int
    mode: Mode
    allow: list[str]

class InstanceView(TypedDict):
    name: str
    service: str
    role: str
    index: int
    hostname: str
    phase: Phase
    phase_since_s: float
    waiting: str
    cause: CauseView | None
    units: list[Unit]
    services_pending: list[str]
    services_failed: list[str]
    warning: str
    clock_off_s: float
    agent_fault: str
    failure: str
    strikes: int
    road: str
    generation: int
    boot: int
    wanted_generation: int
    wanted_boot: int
    removing: bool
    labels: dict[str, str]
    protected: bool
    stop_asked: bool
    address: str
    cards: list[CardView]
    pci: list[str]
    address6: str
    mac: str
    image: str
    image_sha256: str
    vcpus: int
    memory_mib: int
    vm_uuid: str
    boot_id: str
    stale: bool
    served_at_s: float
    unwell_since_s: float
    domain: int | None
    doors: dict[str, str]
    standing: Standing | None
    connections: int | None
    revision: int

class InternalEndpoint(TypedDict):
    name: str
    ports: Ports | None
    mode: Mode | None
    callers: list[str]

class Join(TypedDict):
    domain: str
    user: str
    user_domain: str
    password: SecretRef | None
    unit: str
    blob: SecretRef | None
    unsecure: bool
    workgroup: str

Kind = Literal[
    "unreachable",
    "no-space",
    "busy",
    "endpoint-refused",
    "passing",
    "foreign",
    "image-corrupt",
    "command-failed",
    "refused",
    "network-being-laid",
    "network-not-laid",
    "network-fault",
    "port-lost",
    "port-lost-asked",
    "port-lost-ending",
    "vm-not-running-yet",
    "vm-started-again",
    "vm-down",
    "vm-stuck",
    "vm-ended-later",
    "vm-ending",
    "paused-by-user",
    "paused-for-disk",
    "paused",
    "setup-ended",
    "setup-runs",
    "setup-not-applied",
    "setup-restart-due",
    "setup-restart-unseen",
    "setup-restarted",
    "setup-probe-fails",
    "setup-error",
    "checkpoint-being-taken",
    "checkpoint-awaited",
    "restored",
    "restore-failed",
    "starting",
    "no-agent",
    "booting",
    "boots-too-fast",
    "restarts-for-ever",
    "crashed",
    "services-failed",
    "services-pending",
    "services-noted",
    "probe-fails",
    "probe-alone-fails",
    "restart-asked",
    "restart-asked-again",
    "reset",
    "reset-waited-for",
    "shutdown-asked",
    "check-pending",
    "check-fails",
    "check-awaited",
    "balancer-alone",
    "joining-again",
    "draining",
    "parting-awaited",
    "frozen",
    "thaw-awaited",
    "not-asked",
    "agent-silent",
    "agent-broken",
    "services-lost",
    "guest-busy",
    "guest-word-awaited",
    "guest-word-lapsed",
    "for-too-long",
    "protected",
    "stopped",
    "leased",
    "after-awaited",
    "boots-in-turn",
    "ill-together",
    "failed-together",
    "healed-in-turn",
    "healed-often",
    "reimages-spent",
    "healing-off",
    "standstill",
    "blamed",
    "overdue",
    "failed",
    "restart-keeps",
    "boot-keeps",
    "probe-keeps",
    "recorded",
]

Ladder = Literal["off", "restart", "reimage"]

class LeaseView(TypedDict):
    id: str
    service: str
    role: str
    for_s: float
    asked_at_s: float
    by: int | None
    attended: bool
    place: int
    waiting: str
    given: bool
    given_at_s: float
    until_s: float
    left_s: float
    instance: str
    hostname: str
    address: str

class LeaseWish(TypedDict):
    service: str
    role: NotRequired[str]
    for_s: float

class Leasing(TypedDict):
    longest_s: float

class Limits(TypedDict):
    cpu_weight: int | None
    cpu_limit_percent: int | None
    disk_rate_mib_per_s: int | None
    disk_operations: int | None
    network_rate_mib_per_s: int | None

class LocalStorage(TypedDict):
    name: str
    size_mib: int

Mode = Literal["tcp", "http", "udp"]

class NewToken(TypedDict):
    token: TokenView
    secret: str

Of = Literal["instance", "role"]

OnFailure = Literal["halt", "undo"]

class Operation(TypedDict):
    id: str
    verb: Verb
    subject: str
    service: str
    targets: list[tuple[str, Incarnation]]
    storage: list[int]
    halts: list[int]
    together: int
    cold: bool
    paused: bool
    walk: Walk
    progress: Progress
    message: str
    created_at_s: float
    revision: int

Order = Literal["ascending", "descending"]

Os = Literal["linux", "windows"]

class Pause(TypedDict):
    paused: bool

Phase = Literal[
    "requested",
    "layered",
    "answered",
    "setup",
    "starting",
    "saving",
    "restoring",
    "ready",
    "serving",
    "draining",
    "leased",
    "restarting",
    "stopping",
    "halting",
    "stopped",
    "erasing",
    "failed",
    "gone",
]

class Ports(TypedDict):
    first: int
    last: int

class Probed(TypedDict):
    at_s: float
    why: str

class Problem(TypedDict):
    message: str
    key: str
    line: int | None
    hint: str

class ProblemBody(TypedDict):
    error: str
    message: str
    hint: str
    reason: str
    problems: list[Problem]

Progress = Literal["running", "done", "failed", "superseded"]

class Protection(TypedDict):
    subject: str
    protected: NotRequired[bool]
    labels: NotRequired[str]

class Ready(TypedDict):
    units: list[str]
    ignore: list[str]
    delayed: bool
    command: list[str]
    probe: TcpProbe | HttpProbe | None
    within_s: float
    watch: bool
    silence_s: float
    guest: bool
    agent: bool

RestoreState = Literal["none", "pending", "restored", "refused"]

class RestoreWish(TypedDict):
    snapshot: str

class Restoring(TypedDict):
    state: RestoreState
    sha256: str
    records: dict[str, int]
    former: str
    refusal: str
    hint: str

class RevisionView(TypedDict):
    number: int
    applied_at_s: float
    applied_by: int | None
    restores: int
    changes: list[Change]
    instances: list[str]

Right = Literal["viewer", "operator", "admin"]

Road = Literal["cold", "prepared", "warm"]

class Role(TypedDict):
    name: str
    image: str
    image_sha256: str
    image_format: DiskFormat
    image_mib: int
    os: Os
    answers: AnswerFormat
    hardware: Hardware
    instances: int
    size: Size
    limits: Limits
    endpoints: list[Endpoint]
    instance_endpoints: list[InstanceEndpoint]
    internal_endpoints: list[InternalEndpoint]
    local_storage: list[LocalStorage]
    drives: list[RoleDrive]
    shares: list[Share]
    network: RoleNetwork
    devices: Devices
    libvirt_xml: str
    user_data: str
    user_data_from: SecretRef | None
    vendor_data: str
    admin_password: SecretRef | None
    public_keys: list[str]
    install_agent: bool
    keep_ssh_host_keys: bool
    unattend: Answers | None
    setup: Setup
    ready: Ready
    drain_s: float
    stop: Stop
    restart: TemplateRestart
    healing: Healing
    keep_failed_disk: bool
    reimage: Road
    checkpoint: Checkpoints
    fitness: Fitness
    lease: Leasing
    topology: Topology
    after: list[str]
    labels: list[tuple[str, str]]
    unknown: list[tuple[list[str | int], str]]

class RoleDrive(TypedDict):
    name: str
    drive: str
    mount: str

class RoleNetwork(TypedDict):
    bridge: str
    addresses: list[str]
    gateway: str
    dns: list[str]
    search: list[str]
    proxy: str
    mtu: int | None

class Rollout(TypedDict):
    id: str
    service: str
    service_uid: str
    from_revision: int
    to_revision: int
    targets: list[tuple[str, Incarnation]]
    together: int
    restores: int
    paused: bool
    walk: Walk
    progress: Progress
    message: str
    created_at_s: float
    revision: int

class RolloutView(TypedDict):
    service: str
    file_revision: int
    rollout: Rollout | None
    upgrade: Upgrade
    compared: list[Compared]
    instances: dict[str, int]

class Script(TypedDict):
    name: str
    text: str

class SecretRef(TypedDict):
    source: SecretSource
    name: str

SecretSource = Literal["secret", "file", "env", "credential"]

class ServiceFile(TypedDict):
    name: str
    text: str

class ServiceNetwork(TypedDict):
    name: str
    bridge: str
    subnet: str
    gateway: str
    subnet6: str

class ServiceView(TypedDict):
    name: str
    service: str
    slot: Slot
    deployment: str
    vip: str
    shared_vip: bool
    roles: list[Role]
    network: ServiceNetwork
    removing: bool
    held_up: str
    created_at_s: float
    instances: int
    serving: int
    up: int | None
    labels: dict[str, str]
    stopped: int
    file_revision: int
    revision: int

class Setup(TypedDict):
    restart: bool
    within_s: float

class Share(TypedDict):
    name: str
    source: str
    mount: str

class Size(TypedDict):
    vcpus: int
    memory_mib: int
    disk_mib: int | None

class SizeWish(TypedDict):
    size_mib: int

Slot = Literal["production", "staging"]

class SnapshotFile(TypedDict):
    name: str
    size_bytes: int
    used_bytes: int
    taken_at_s: float

class SnapshotWish(TypedDict):
    name: NotRequired[str]

SourceFormat = Literal["qcow2", "raw", "vhd", "vhdx", "vmdk"]

Standing = Literal["up", "down", "draining"]

class StandstillView(TypedDict):
    service: str
    since_s: float
    by: int | None
    says: str
    until: str

Step = Literal["copying", "unpacking", "converting", "checking"]

class Stop(TypedDict):
    within_s: float | None

class Swap(TypedDict):
    force: NotRequired[bool]

class Tagged(TypedDict):
    image: Image
    before: Image | None
    used_by: list[str]

class TcpProbe(TypedDict):
    port: int | None
    interval_s: float | None
    timeout_s: float | None
    rise: int | None
    fall: int | None
    initial_delay_s: float | None

class TemplateRestart(TypedDict):
    within_s: float | None

class Tls(TypedDict):
    certificate: SecretRef
    key: SecretRef | None
    more: list[Certificate]
    redirect_from: int | None

class TokenView(TypedDict):
    name: str
    right: Right
    certificate: bool
    made_at_s: float
    made_by: str
    expires_at_s: float

class TokenWish(TypedDict):
    name: str
    right: Right
    life_s: float
    certificate: NotRequired[bool]

Topology = Literal["blast", "walk"]

class Traffic(TypedDict):
    open: int
    begun: int | None
    received_bytes: int | None
    sent_bytes: int | None
    refusals: int | None
    errors: int | None

class Tried(TypedDict):
    plain: Fitness
    storage: Fitness | None
    qemu: str
    at_s: float

class Undo(TypedDict):
    to: NotRequired[int | None]

class Unit(TypedDict):
    name: str
    state: UnitState
    detail: str

UnitState = Literal["pending", "absent", "failed"]

class Upgrade(TypedDict):
    domains: int | None
    max_unavailable: int | None
    max_unavailable_percent: int | None
    walking: Walking
    order: Order
    within_s: float | None
    soak_s: float
    on_failure: OnFailure
    canary: int

Verb = Literal["restart", "reimage", "rebuild", "stop", "start"]

class Walk(TypedDict):
    walked: list[Walked]
    canaries: list[str]
    asks: bool
    judged: bool
    released: int
    unreleased: str
    broken: str

class Walked(TypedDict):
    name: str
    begun_at_s: float
    served: bool
    done: bool

Walking = Literal["auto", "manual"]

Whose = Literal["host", "image", "guest", "answers", "balancer", "service"]

class Why(TypedDict):
    name: str
    sentences: list[str]

Windows = Literal["2008r2", "2012", "2012r2", "2016", "2019", "2022", "2025", "7", "8", "8.1", "10", "11"]

class Wish(TypedDict):
    verb: Verb
    subject: str
    together: NotRequired[int | None]
    labels: NotRequired[str]
    cold: NotRequired[bool]

MessageKind = Literal["instance", "gone", "operation", "event", "gap", "current", "again", "end"]
