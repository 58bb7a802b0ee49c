"""The API's answers as a client sees them: shapes for the type checker, tested against docs/openapi.json.

Nothing imports this at run time: building these classes would cost the command line its quick start.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Service(TypedDict):
    """A service; see api.views.ServiceView."""

    name: str
    vip: str
    roles: list[dict[str, Any]]
    network: dict[str, Any]
    removing: bool
    created_at_s: float
    instances: int
    serving: int
    up: int | None
    labels: dict[str, str]
    stopped: int
    file_revision: int
    revision: int


class Unit(TypedDict):
    """A service of a guest that has not started; see model.Unit."""

    name: str
    state: str
    detail: str


class Cause(TypedDict):
    """What is the matter with an instance; see api.views.CauseView."""

    kind: str
    whose: str | None
    subject: str


class Instance(TypedDict):
    """An instance; see api.views.InstanceView."""

    name: str
    service: str
    role: str
    index: int
    hostname: str
    phase: str
    phase_since_s: float
    waiting: str
    cause: Cause | None
    units: list[Unit]
    services_pending: list[str]
    services_failed: list[str]
    warning: str
    agent_fault: str
    failure: str
    strikes: int
    generation: int
    boot: int
    wanted_generation: int
    wanted_boot: int
    removing: bool
    labels: dict[str, str]
    protected: bool
    stop_asked: bool
    address: str
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
    standing: str | None
    connections: int | None
    revision: int


class Image(TypedDict):
    """An image; see model.Image."""

    sha256: str
    format: str
    os: str
    size_bytes: int
    virtual_size_bytes: int
    names: list[str]
    added_at_s: float
    answers: str
    hardware: dict[str, Any]
    suggested: dict[str, Any] | None
    source_sha256: str
    revision: int


class Tagged(TypedDict):
    """A name that means another image now; see catalogue.Tagged."""

    image: Image
    before: Image | None
    used_by: list[str]


class Arrival(TypedDict):
    """An image that is being added; see arrivals.Arrival."""

    name: str
    step: str
    copied_bytes: int
    percent: float | None


class Agent(TypedDict):
    """A guest's agent; see model.Agent."""

    host_name: str
    system: str
    version: str
    allowed: list[str]
    forbidden: list[str]
    marks: dict[str, str]


class Operation(TypedDict):
    """Long work; see model.Operation. A target is [name, {"generation", "boot"}]."""

    id: str
    verb: str
    subject: str
    service: str
    targets: list[list[Any]]
    storage: list[int]
    halts: list[int]
    together: int
    paused: bool
    walk: dict[str, Any]
    progress: str
    message: str
    created_at_s: float
    revision: int


class Event(TypedDict):
    """A line of the ledger; see model.Event."""

    at_s: float
    subject: str
    message: str
    phase: str
    generation: int
    boot: int
    number: int


class Change(TypedDict):
    """One difference; see difference.Change."""

    key: str
    before: str
    after: str
    effect: str


class Applied(TypedDict):
    """What an apply did; see api.views.AppliedView."""

    service: Service | None
    changes: list[Change]
    operation: Operation | None


class Checked(TypedDict):
    """What applying one of several documents would do; see api.views.CheckedView."""

    service: str
    changes: list[Change]
    refusal: dict[str, Any] | None


class Revision(TypedDict):
    """A version of a service's file; see api.views.RevisionView."""

    number: int
    applied_at_s: float
    applied_by: int | None
    restores: int
    changes: list[Change]
    instances: list[str]


class RolloutOf(TypedDict):
    """A rollout; see model.Rollout. A target is [name, {"generation", "boot"}]."""

    id: str
    service: str
    service_uid: str
    from_revision: int
    to_revision: int
    targets: list[list[Any]]
    together: int
    restores: int
    paused: bool
    walk: dict[str, Any]
    progress: str
    message: str
    created_at_s: float
    revision: int


class Compared(TypedDict):
    """How a part of a rollout's instances is; see api.comparison.Compared."""

    name: str
    instances: int
    serving: int
    up: int | None
    unwell: int
    failed: int
    strikes: int
    begun: int | None
    errors: int | None


class Rollout(TypedDict):
    """How far a service is on its way to its newest file; see api.views.RolloutView."""

    service: str
    file_revision: int
    rollout: RolloutOf | None
    upgrade: dict[str, Any]
    compared: list[Compared]
    instances: dict[str, int]


class Traffic(TypedDict):
    """What a member or a pool carries; see model.Traffic."""

    open: int
    begun: int | None
    received_bytes: int | None
    sent_bytes: int | None
    refusals: int | None
    errors: int | None


class Endpoint(TypedDict):
    """What an endpoint carries; see api.comparison.EndpointView."""

    role: str
    name: str
    port: int
    whole: Traffic | None
    members: dict[str, Traffic]


class Finding(TypedDict):
    """One thing that contradicts the records; see verify.Finding."""

    code: str
    subject: str
    message: str
    stray: bool


class Health(TypedDict):
    """That the daemon answers; see api.views.Health."""

    status: str
    version: str
    revision: int
