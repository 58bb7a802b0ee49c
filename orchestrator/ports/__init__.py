"""What the core asks of the world: small Protocols, one per noun, and the Host that bundles them.

A host has a `Machine`, which runs VMs, and a `Front`, which faces clients; images and records lie beside them.

Every verb is safe to repeat: after a crash the reconciler calls it again without knowing whether the first call
took effect. All may raise `errors.Transient` (look again later) or `errors.Permanent` (looking again cannot help);
no exception of a library crosses a port. Verbs block; none waits for a guest.
"""

from __future__ import annotations

import dataclasses

from orchestrator.ports.blobs import BlobDesk, BlobFiles
from orchestrator.ports.drives import DriveFiles
from orchestrator.ports.front import Balancer, Doors, Front, Held, Vips
from orchestrator.ports.images import ImageFiles, Received
from orchestrator.ports.machine import (
    AnswerMedia,
    Channel,
    Desk,
    Disks,
    Guest,
    Hypervisor,
    Inside,
    Machine,
    Network,
)
from orchestrator.ports.peers import Peers
from orchestrator.ports.store import (
    CHANGES_KEPT,
    COMMIT_BYTES_MAX,
    COMMIT_IDS_KEPT,
    COMMIT_PARTS_MAX,
    Change,
    Check,
    Document,
    Store,
    Write,
)
from orchestrator.ports.time import Clock

__all__ = [
    "CHANGES_KEPT",
    "COMMIT_BYTES_MAX",
    "COMMIT_IDS_KEPT",
    "COMMIT_PARTS_MAX",
    "AnswerMedia",
    "Balancer",
    "BlobDesk",
    "BlobFiles",
    "Change",
    "Channel",
    "Check",
    "Clock",
    "Desk",
    "Disks",
    "Document",
    "Doors",
    "DriveFiles",
    "Front",
    "Guest",
    "Held",
    "Host",
    "Hypervisor",
    "ImageFiles",
    "Inside",
    "Machine",
    "Network",
    "Peers",
    "Received",
    "Store",
    "Vips",
    "Write",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """All ports of one host, built once in daemon.py and passed down."""

    machine: Machine
    front: Front
