"""The ledger and long work."""

from __future__ import annotations

import dataclasses
import enum

from orchestrator.model.instance import Incarnation
from orchestrator.model.naming import InstanceName


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
