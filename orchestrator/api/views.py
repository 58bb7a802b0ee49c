"""What the API shows of the nouns: flat, without secrets. Answers are these, or values of `model` as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import Query
from pydantic import Field, StrictBool, StrictInt

from orchestrator.api import heeded
from orchestrator.api.card_views import CardView, cards_of
from orchestrator.api.causes import CauseView, view_cause
from orchestrator.api.problems import ProblemBody, body_of
from orchestrator.control.applied import Applied
from orchestrator.errors import VmroleError
from orchestrator.model import (
    Instance,
    InstanceName,
    Operation,
    Phase,
    Role,
    Seat,
    Service,
    ServiceNetwork,
    Slot,
    Standing,
    Unit,
    Verb,
)
from orchestrator.rules.frontends import doors_of
from orchestrator.servicefile.difference import Change

MASK = "***"
DOCUMENTS_MAX = 500  # that are checked together
Selector = Annotated[str, Query(description='those with these labels: "tier=front,env!=prod"; "" for all')]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service as recorded, with user data masked, and how many of its instances are in rotation."""

    name: str  # what other requests take for it: "shop", or "shop@staging"
    service: str
    slot: Slot
    deployment: str  # what its instances are named after; "shop--b" is the second of shop, in either slot
    vip: str  # of its slot; "": that has none
    shared_vip: bool
    roles: tuple[Role, ...]
    network: ServiceNetwork
    removing: bool
    held_up: str = ""  # why it does not go, though it is being removed; "": nothing but its turns is lacking
    created_at_s: float
    instances: int  # that exist, those being removed included
    serving: int
    up: int | None = None  # of them, at the balancer; None when it was not asked, or does not answer
    labels: dict[str, str]
    stopped: int  # because somebody asked for that
    file_revision: int  # of its file; 0: none is kept yet
    revision: int  # of the record


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """An instance: where it is, where it shall be, and what it waits for. Times in seconds since the epoch."""

    name: str
    service: str
    role: str
    index: int
    hostname: str
    phase: Phase
    phase_since_s: float
    waiting: str
    cause: CauseView | None  # of its failure where it has failed, else of its waiting; null: it waits for nothing
    units: tuple[Unit, ...]  # services of the guest that have not started in this boot, as told last
    services_pending: tuple[str, ...]  # of them, as people read it
    services_failed: tuple[str, ...]
    warning: str  # what the last stop or restart cost beyond what it should
    clock_off_s: float  # by how much its guest's clock is ahead of the host's; 0 while that is nothing to tell of
    agent_fault: str  # why nothing can be made of what its guest agent sends; "" when it makes sense
    failure: str
    strikes: int
    road: str  # by which this generation was made, and why by no warmer one; "": its role is reimaged cold
    generation: int
    boot: int
    wanted_generation: int
    wanted_boot: int
    removing: bool
    labels: dict[str, str]  # its role's and its service's
    protected: bool  # neither a verb nor healing touches it
    stop_asked: bool  # it shall be off, and is left off, until somebody starts it
    address: str
    cards: tuple[CardView, ...]  # on bridges of the host's
    pci: tuple[str, ...]  # addresses of the host's devices that a VM of its present generation has to itself
    address6: str  # by which it is reached behind a VIP of IPv6 that the kernel carries; "": it needs none
    mac: str
    image: str
    image_sha256: str
    vcpus: int
    memory_mib: int
    vm_uuid: str
    boot_id: str
    stale: bool  # its VM is not yet, or was left, as the service file says
    served_at_s: float
    unwell_since_s: float
    domain: int | None = None  # of its service's upgrade domains; None when there are none
    doors: dict[str, str]  # ADDRESS:PORT of the VIP that leads to it alone, by endpoint; of udp with /udp behind
    standing: Standing | None = None  # at the balancer; None when not a member, or not asked for
    connections: int | None = None
    revision: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppliedView:
    """What an apply did, or would do. `service` is None only in a dry run of a new service."""

    service: ServiceView | None
    changes: tuple[Change, ...]
    operation: Operation | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The body that goes back to a revision; `to` null: to the one before the last."""

    __pydantic_config__ = heeded.WHOLE_BODY

    to: Annotated[int, Field(strict=True, ge=1)] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The body that pauses the rollout that runs, or goes on with it."""

    __pydantic_config__ = heeded.WHOLE_BODY

    paused: StrictBool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """The body that exchanges what is in production and what is in staging; `force`: though clients would notice."""

    __pydantic_config__ = heeded.WHOLE_BODY

    force: StrictBool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The body that asks what applying several documents would do, one service each."""

    __pydantic_config__ = heeded.WHOLE_BODY

    documents: Annotated[tuple[str, ...], Field(min_length=1, max_length=DOCUMENTS_MAX)]
    slot: Slot = Slot.PRODUCTION


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """A service as YAML that is applied without a change."""

    name: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CheckedView:
    """What applying one of several documents would do, those before it applied; `refusal` says why it cannot be."""

    service: str  # "" with a refusal
    changes: tuple[Change, ...]
    refusal: ProblemBody | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Sentences for people, in order."""

    name: str
    sentences: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The body that asks for a restart, reimage, rebuild, stop or start of an instance, a role or a service."""

    __pydantic_config__ = heeded.WHOLE_BODY

    verb: Verb
    subject: str
    together: int | None = None  # null: as the service's file says, of a stop or start one
    labels: str = ""  # of the subject's instances those that this selects: "tier=front,env!=prod"
    cold: bool = False  # of a reimage: it begins with the image, whatever checkpoint there is


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """The body that protects an instance, a role or a service, or ends that."""

    __pydantic_config__ = heeded.WHOLE_BODY

    subject: str
    protected: bool = True
    labels: str = ""  # of the subject's instances those that this selects: "tier=front,env!=prod"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The body that scales roles: the number of instances by role."""

    __pydantic_config__ = heeded.WHOLE_BODY

    roles: dict[str, StrictInt]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """That the daemon answers, and what it is."""

    status: str
    version: str
    revision: int  # of the store


def masked(role: Role) -> Role:
    """The role without the texts that its user may have put secrets into."""
    shown = replace(role, user_data=_mask(role.user_data), vendor_data=_mask(role.vendor_data))
    if role.unattend is None:
        return shown
    answers = role.unattend
    scripts = tuple(replace(script, text=_mask(script.text)) for script in answers.scripts)
    commands = tuple(replace(command, line=_mask(command.line)) for command in answers.specialize)
    first_logon = tuple(_mask(line) for line in answers.first_logon)
    own_xml = _mask(answers.own_xml)
    answers = replace(answers, scripts=scripts, specialize=commands, first_logon=first_logon, own_xml=own_xml)
    return replace(shown, unattend=answers)


def _mask(text: str) -> str:
    return MASK if text else ""


def view_service(
    service: Service,
    instances: Sequence[Instance],
    seats: Mapping[InstanceName, Seat] | None = None,
    held_up: str = "",
) -> ServiceView:
    """The service as shown; `instances` are its own, `seats` may be those of all services."""
    return ServiceView(
        name=service.address,
        service=service.service,
        slot=service.slot,
        deployment=service.name,
        vip=service.vip,
        shared_vip=service.spec.shared_vip,
        roles=tuple(masked(role) for role in service.spec.roles),
        network=service.network,
        removing=service.removing,
        held_up=held_up,
        created_at_s=service.created_at_s,
        instances=len(instances),
        serving=sum(one.serving for one in instances),
        up=None
        if seats is None
        else sum(one.name in seats and seats[one.name].standing is Standing.UP for one in instances),
        labels=dict(service.spec.labels),
        stopped=sum(one.is_off for one in instances),
        file_revision=service.file_revision,
        revision=service.revision,
    )


def view_instance(instance: Instance, service: Service | None, seat: Seat | None = None) -> InstanceView:
    """The instance as shown; `service` is its own, None when that is gone meanwhile."""
    return InstanceView(
        name=instance.name,
        service=service.address if service is not None else instance.service,
        role=instance.role_name,
        index=instance.index,
        hostname=instance.hostname,
        phase=instance.phase,
        phase_since_s=instance.phase_since_s,
        waiting=instance.waiting,
        cause=view_cause(instance),
        units=instance.units,
        services_pending=instance.services_pending,
        services_failed=instance.services_failed,
        warning=instance.warning,
        clock_off_s=instance.clock_off_s,
        agent_fault=instance.agent_fault,
        failure=instance.failure,
        strikes=instance.strikes,
        road=instance.road,
        generation=instance.generation,
        boot=instance.boot,
        wanted_generation=instance.goal.wanted.generation,
        wanted_boot=instance.goal.wanted.boot,
        removing=not instance.goal.serve,
        labels=dict(instance.goal.role.labels),
        protected=instance.goal.protected,
        stop_asked=not instance.goal.runs,
        address=instance.nic.address,
        address6=instance.nic.address6,
        cards=cards_of(instance),
        pci=tuple(one.address for one in instance.passed),
        mac=instance.nic.mac,
        image=instance.role.image,
        image_sha256=instance.role.image_sha256,
        vcpus=instance.role.size.vcpus,
        memory_mib=instance.role.size.memory_mib,
        vm_uuid=instance.vm_uuid,
        boot_id=instance.boot_id,
        stale=instance.stale,
        served_at_s=instance.served_at_s,
        unwell_since_s=instance.unwell_since_s,
        domain=service.spec.upgrade.domain(instance.index) if service else None,
        doors=doors_of(instance.goal.role, service.vip, instance.index) if service else {},
        standing=seat.standing if seat else None,
        connections=seat.connections if seat else None,
        revision=instance.revision,
    )


def view_applied(applied: Applied, instances_of: Callable[[str], Sequence[Instance]]) -> AppliedView:
    """What an apply did, as shown."""
    of = applied.service
    service = view_service(of, instances_of(of.address)) if of is not None else None
    return AppliedView(service=service, changes=applied.changes, operation=applied.operation)


def view_checked(checked: Applied | VmroleError) -> CheckedView:
    """What an apply would do, or why it cannot be done, as shown."""
    if isinstance(checked, VmroleError):
        return CheckedView(service="", changes=(), refusal=body_of(checked))
    assert checked.service is not None  # as it would be
    return CheckedView(service=checked.service.address, changes=checked.changes, refusal=None)
