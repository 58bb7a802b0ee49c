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
class Walked:
    """How far an operation has come with one of its targets that it has begun."""

    name: InstanceName
    begun_at_s: float  # seconds since the epoch
    served: bool = False  # as it was asked to
    done: bool = False  # and that for as long as it must (`Upgrade.soak_s`)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """An operation's way through its targets."""

    walked: tuple[Walked, ...] = ()
    canaries: tuple[InstanceName, ...] = ()  # who goes before all others, after which a rollout pauses by itself
    asks: bool = False  # whether that is why it is paused
    judged: bool = False  # whether somebody has resumed it since
    released: int = 0  # how many domains somebody has let go, of those of a rollout that waits for him
    unreleased: str = ""  # which part of it waits for that now; "": none does
    broken: str = ""  # why a rollout goes back, as soon as it can


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
    cold: bool = False  # of a reimage: it begins with the image, whatever checkpoint there is
    paused: bool = False  # of a rollout: nobody more is begun until it is resumed
    walk: Walk = Walk()
    progress: Progress = Progress.RUNNING
    message: str = ""
    created_at_s: float = 0.0
    revision: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What an apply makes when it changes what VMs are built from: instances are made anew, one after the other.

    The first that fails halts it: its progress is FAILED then, and the next apply takes up what it has left.
    """

    id: str
    service: str
    service_uid: str
    from_revision: int  # of the service's file; 0: not known
    to_revision: int
    targets: tuple[tuple[InstanceName, Incarnation], ...]  # see Upgrade for their order
    together: int = 1  # how many at a time at most, as its service's `Upgrade` says now
    restores: int = 0  # the revision that it goes back to; 0: it goes on to another
    paused: bool = False
    walk: Walk = Walk()
    progress: Progress = Progress.RUNNING
    message: str = ""
    created_at_s: float = 0.0
    revision: int = 0

    @property
    def operation(self) -> Operation:
        """The rollout as the long work that it is."""
        return Operation(
            id=self.id,
            verb=Verb.REIMAGE,
            subject=self.service,
            service=self.service,
            targets=self.targets,
            together=self.together,
            paused=self.paused,
            walk=self.walk,
            progress=self.progress,
            message=self.message,
            created_at_s=self.created_at_s,
            revision=self.revision,
        )

    def at(self, operation: Operation) -> Rollout:
        """The rollout as far as its operation has come."""
        return dataclasses.replace(
            self,
            together=operation.together,
            progress=operation.progress,
            message=operation.message,
            paused=operation.paused,
            walk=operation.walk,
        )
