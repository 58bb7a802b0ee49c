"""The nouns. Frozen values only: no I/O, no clock, no randomness; a change is a `dataclasses.replace`.

naming: how things are called, and what a name may be.
image: what one is, and the machine that it wants.
tls: how an endpoint proves who it is. topology: how guests learn who their peers are.
template: what the user writes of a service and its roles.
revision: that, as it was applied, numbered.
cause: why one waits or has failed, and whose turn it is.
allocation: what we allocate for a service: its private network, its instances' cards.
healing: how far healing may go by itself.
checkpoint: what a reimage may begin with instead of the image.
lease: an instance that one client has for a while.
phase: how far an instance may be, and what is so then.
instance: what is wanted of one, and how far it is.
word: what a guest says of itself.
world: what the world shows: VMs, guests, members of pools.
work: the ledger and long work.
"""

from orchestrator.model.allocation import Nic, Service, ServiceNetwork
from orchestrator.model.allocation import by_card as by_card
from orchestrator.model.cause import Cause
from orchestrator.model.checkpoint import (
    Apart,
    Checkpoint,
    Checkpoints,
    Digested,
    Fitness,
    HostFit,
    Kept,
    Road,
    Tried,
)
from orchestrator.model.devices import Devices as Devices
from orchestrator.model.devices import DiskCache as DiskCache
from orchestrator.model.drive import Attachment as Attachment
from orchestrator.model.drive import RoleDrive as RoleDrive
from orchestrator.model.healing import Healing, Ladder, ServiceHealing
from orchestrator.model.image import AnswerFormat, Deadlines, DiskBus, DiskFormat, Firmware, Hardware, Image, Os
from orchestrator.model.instance import Goal, Incarnation, Instance
from orchestrator.model.lan import Given, LanNic, RoleNetwork
from orchestrator.model.lease import Lease, Leasing, is_lease_id
from orchestrator.model.naming import (
    BRIDGE_PREFIX,
    INSTANCES_MAX,
    MAC_PREFIX,
    SECOND,
    TAP_PREFIX,
    InstanceName,
    Labels,
    Path,
    PoolName,
    Slot,
    Unknown,
    deployments_of,
    image_name,
    instance_name,
    is_sha256,
    label,
    made_label,
    other_deployment,
    place_of,
    pool_name,
    service_name,
    service_of,
)
from orchestrator.model.phase import Phase
from orchestrator.model.revision import Revision
from orchestrator.model.template import (
    PROBE_FALL,
    PROBE_INTERVAL_S,
    PROBE_RISE,
    PROBE_STATUS,
    PROBE_TIMEOUT_S,
    Carrier,
    CommandProbe,
    Endpoint,
    EndpointProbe,
    HttpProbe,
    InstanceEndpoint,
    InternalEndpoint,
    Limits,
    LocalStorage,
    Mode,
    Ports,
    Probe,
    Ready,
    Restart,
    Role,
    ServiceSpec,
    Setup,
    Size,
    Stop,
    TcpProbe,
)
from orchestrator.model.tls import Certificate, Tls
from orchestrator.model.topology import Topology
from orchestrator.model.upgrade import OnFailure, Order, Upgrade, Walking
from orchestrator.model.word import Farewell, Parting, Says, Word
from orchestrator.model.work import Event, Operation, Progress, Rollout, Verb, Walk, Walked
from orchestrator.model.world import (
    PROBES_KEPT,
    Agent,
    Carried,
    Domain,
    Frontend,
    Identity,
    Member,
    Missing,
    Notice,
    Part,
    PausedBy,
    Power,
    Probed,
    Ran,
    Seat,
    Services,
    Silence,
    Standing,
    Traffic,
    Unit,
    UnitState,
    total,
)

__all__ = [
    "BRIDGE_PREFIX",
    "INSTANCES_MAX",
    "MAC_PREFIX",
    "PROBES_KEPT",
    "PROBE_FALL",
    "PROBE_INTERVAL_S",
    "PROBE_RISE",
    "PROBE_STATUS",
    "PROBE_TIMEOUT_S",
    "SECOND",
    "TAP_PREFIX",
    "Agent",
    "AnswerFormat",
    "Apart",
    "Carried",
    "Carrier",
    "Cause",
    "Certificate",
    "Checkpoint",
    "Checkpoints",
    "CommandProbe",
    "Deadlines",
    "Digested",
    "DiskBus",
    "DiskFormat",
    "Domain",
    "Endpoint",
    "EndpointProbe",
    "Event",
    "Farewell",
    "Firmware",
    "Fitness",
    "Frontend",
    "Given",
    "Goal",
    "Hardware",
    "Healing",
    "HostFit",
    "HttpProbe",
    "Identity",
    "Image",
    "Incarnation",
    "Instance",
    "InstanceEndpoint",
    "InstanceName",
    "InternalEndpoint",
    "Kept",
    "Labels",
    "Ladder",
    "LanNic",
    "Lease",
    "Leasing",
    "Limits",
    "LocalStorage",
    "Member",
    "Missing",
    "Mode",
    "Nic",
    "Notice",
    "OnFailure",
    "Operation",
    "Order",
    "Os",
    "Part",
    "Parting",
    "Path",
    "PausedBy",
    "Phase",
    "PoolName",
    "Ports",
    "Power",
    "Probe",
    "Probed",
    "Progress",
    "Ran",
    "Ready",
    "Restart",
    "Revision",
    "Road",
    "Role",
    "RoleNetwork",
    "Rollout",
    "Says",
    "Seat",
    "Service",
    "ServiceHealing",
    "ServiceNetwork",
    "ServiceSpec",
    "Services",
    "Setup",
    "Silence",
    "Size",
    "Slot",
    "Standing",
    "Stop",
    "TcpProbe",
    "Tls",
    "Topology",
    "Traffic",
    "Tried",
    "Unit",
    "UnitState",
    "Unknown",
    "Upgrade",
    "Verb",
    "Walk",
    "Walked",
    "Walking",
    "Word",
    "deployments_of",
    "image_name",
    "instance_name",
    "is_lease_id",
    "is_sha256",
    "label",
    "made_label",
    "other_deployment",
    "place_of",
    "pool_name",
    "service_name",
    "service_of",
    "total",
]
