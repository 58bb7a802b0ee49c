"""What can go wrong in the fake world."""

from __future__ import annotations

import dataclasses

from orchestrator.errors import VmroleError
from orchestrator.model import InstanceName
from orchestrator.model.pci import PciLook


@dataclasses.dataclass(slots=True)
class Faults:
    """What a test may order. Each is a fault of the world that the product must survive."""

    setup_never_ends: set[InstanceName] = dataclasses.field(default_factory=set)
    services_never_start: set[InstanceName] = dataclasses.field(default_factory=set)
    bad_images: set[str] = dataclasses.field(default_factory=set)  # the same, by digest
    bad_user_data: set[str] = dataclasses.field(
        default_factory=set
    )  # the services of who is built from it never start
    deaf_to_requests: set[InstanceName] = dataclasses.field(default_factory=set)  # ignores shutdown and restart
    check_fails: set[InstanceName] = dataclasses.field(default_factory=set)
    balancer_blind: set[InstanceName] = dataclasses.field(default_factory=set)  # its check fails, and it is well
    ready_probe_fails: set[InstanceName] = dataclasses.field(default_factory=set)  # though its services have started
    foreign: set[InstanceName] = dataclasses.field(default_factory=set)  # the domain of that name is somebody else's
    frozen: set[InstanceName] = dataclasses.field(default_factory=set)  # a backup has frozen its file systems
    agent_shows_no_files: bool = False
    agent_is_confined: bool = False  # it tells which boot it is in, and may not look into our files
    bridges_gone: set[str] = dataclasses.field(default_factory=set)  # of the host's own
    shares_gone: set[str] = dataclasses.field(default_factory=set)  # of the host, by their sources
    pci: PciLook = dataclasses.field(default_factory=PciLook)  # what the host's owner gives of its devices
    pci_gone: set[str] = dataclasses.field(default_factory=set)  # devices that somebody has taken out
    no_passthrough: bool = False  # its IOMMU is off
    no_huge_pages: bool = False  # the host's owner has reserved none, or takes them back
    no_agent: bool = False  # the image has none
    baked_marks: set[str] = dataclasses.field(default_factory=set)  # what each generation has of its image
    refuses: dict[str, VmroleError] = dataclasses.field(default_factory=dict)  # what every call of a port meets
    sick_cannot_drain: bool = False  # the balancer refuses to drain a member that is down
    shutdown_takes_s: dict[InstanceName, float] = dataclasses.field(default_factory=dict)
    agent_after_s: dict[InstanceName, float] = dataclasses.field(default_factory=dict)  # how long a boot takes
    agent_silent: set[InstanceName] = dataclasses.field(default_factory=set)  # the agent is dead
    clock_off_s: dict[InstanceName, float] = dataclasses.field(default_factory=dict)  # by how much it is ahead
    agent_broken: set[InstanceName] = dataclasses.field(default_factory=set)  # it sends rubbish
    services_unheard: set[InstanceName] = dataclasses.field(default_factory=set)  # asked, and yet to answer
    services_crash: set[InstanceName] = dataclasses.field(default_factory=set)  # they have started, and ended badly
    setup_error: dict[InstanceName, str] = dataclasses.field(default_factory=dict)  # of cloud-init, which has ended
    restarts_after_s: dict[InstanceName, float] = dataclasses.field(default_factory=dict)  # for ever, by itself
    other_boot_each_look: set[InstanceName] = dataclasses.field(default_factory=set)  # a guest that lies
    others_vips: set[str] = dataclasses.field(default_factory=set)  # addresses that a neighbour has
    libvirt_is_away: bool = False
    memory_damaged: set[InstanceName] = dataclasses.field(default_factory=set)  # of a checkpoint
    layer_damaged: set[InstanceName] = dataclasses.field(default_factory=set)  # likewise
    not_started: set[InstanceName] = dataclasses.field(default_factory=set)  # QEMU does not boot what lies on a layer
    unwritten: set[InstanceName] = dataclasses.field(default_factory=set)  # whose agent has nothing written to disk
    not_restored: set[InstanceName] = dataclasses.field(default_factory=set)  # QEMU refuses the memory
    no_ram: set[InstanceName] = dataclasses.field(default_factory=set)  # for whose memory there is no room in RAM
    not_saved: set[InstanceName] = dataclasses.field(default_factory=set)  # nor does it give it away
    holds_disc: set[InstanceName] = dataclasses.field(default_factory=set)  # whose drive stays shut
    takes_no_drive: set[InstanceName] = dataclasses.field(default_factory=set)  # while it runs
    keeps_drives: set[InstanceName] = dataclasses.field(default_factory=set)  # whose guest does not let go of one
    busy_drives: set[str] = dataclasses.field(default_factory=set)  # that a program of their guest uses
    uses_storage: set[InstanceName] = dataclasses.field(default_factory=set)  # a program of whose guest does, always
    slow_to_put_aside: set[InstanceName] = dataclasses.field(default_factory=set)  # its disks
    storage_unmountable: set[InstanceName] = dataclasses.field(default_factory=set)  # once it is taken from a guest
    unfit: set[InstanceName] = dataclasses.field(default_factory=set)  # whose kernel does not notice it
    no_vmgenid: set[InstanceName] = dataclasses.field(default_factory=set)  # whose kernel has no driver for it
    clockless: set[InstanceName] = dataclasses.field(default_factory=set)  # whose agent does not set the clock
    disk_is_full: bool = False
    network_cannot_start: bool = False  # e.g. somebody else has its port 53
    balancer: list[str] = dataclasses.field(default_factory=list)  # what is wrong with the balancer itself
