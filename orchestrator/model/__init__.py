"""The nouns. Frozen values only: no I/O, no clock, no randomness; a change is a `dataclasses.replace`.

naming: how things are called, and what a name may be.
image: what one is, and the machine that it wants.
template: what the user writes of a service and its roles.
revision: that, as it was applied, numbered.
allocation: what we allocate for a service: its private network, its instances' cards.
instance: what is wanted of one, and how far it is.
world: what the world shows: VMs, guests, members of pools.
work: the ledger and long work.
"""

from orchestrator.model.allocation import Nic, Service, ServiceNetwork
from orchestrator.model.image import AnswerFormat, Deadlines, DiskBus, DiskFormat, Firmware, Hardware, Image, Os
from orchestrator.model.instance import Goal, Incarnation, Instance, Phase
from orchestrator.model.naming import (
    BRIDGE_PREFIX,
    INSTANCES_MAX,
    MAC_PREFIX,
    TAP_PREFIX,
    InstanceName,
    Labels,
    Path,
    PoolName,
    Unknown,
    image_name,
    instance_name,
    is_sha256,
    label,
    pool_name,
)
from orchestrator.model.revision import Revision
from orchestrator.model.template import (
    Carrier,
    Endpoint,
    HttpProbe,
    Limits,
    LocalStorage,
    Mode,
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
from orchestrator.model.work import Event, Operation, Progress, Rollout, Verb
from orchestrator.model.world import (
    Agent,
    Domain,
    Frontend,
    Identity,
    Member,
    Missing,
    Notice,
    Part,
    PausedBy,
    Power,
    Seat,
    Services,
    Silence,
    Standing,
)

__all__ = [
    "BRIDGE_PREFIX",
    "INSTANCES_MAX",
    "MAC_PREFIX",
    "TAP_PREFIX",
    "Agent",
    "AnswerFormat",
    "Carrier",
    "Deadlines",
    "DiskBus",
    "DiskFormat",
    "Domain",
    "Endpoint",
    "Event",
    "Firmware",
    "Frontend",
    "Goal",
    "Hardware",
    "HttpProbe",
    "Identity",
    "Image",
    "Incarnation",
    "Instance",
    "InstanceName",
    "Labels",
    "Limits",
    "LocalStorage",
    "Member",
    "Missing",
    "Mode",
    "Nic",
    "Notice",
    "Operation",
    "Os",
    "Part",
    "Path",
    "PausedBy",
    "Phase",
    "PoolName",
    "Power",
    "Probe",
    "Progress",
    "Ready",
    "Restart",
    "Revision",
    "Role",
    "Rollout",
    "Seat",
    "Service",
    "ServiceNetwork",
    "ServiceSpec",
    "Services",
    "Setup",
    "Silence",
    "Size",
    "Standing",
    "Stop",
    "TcpProbe",
    "Unknown",
    "Verb",
    "image_name",
    "instance_name",
    "is_sha256",
    "label",
    "pool_name",
]
