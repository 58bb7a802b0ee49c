"""Why an instance waits or has failed: a kind, whose turn it is, and what its sentence needs.

The sentences for people are here and nowhere else, one for each kind. A driver's own words, and those of a guest or a
probe, are a cause's detail.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from orchestrator.errors import (
    Busy,
    CommandFailed,
    EndpointRefused,
    Foreign,
    ImageCorrupt,
    NoSpace,
    Permanent,
    Unreachable,
    VmroleError,
    Whose,
    WorldError,
)


class Kind(enum.StrEnum):
    """What is the matter. The words are stable, for scripts; `SENTENCES` has what people read."""

    # The errors of the world.
    UNREACHABLE = "unreachable"
    NO_SPACE = "no-space"
    BUSY = "busy"
    ENDPOINT_REFUSED = "endpoint-refused"
    PASSING = "passing"  # waiting helps, and nothing more is known of it
    FOREIGN = "foreign"
    IMAGE_CORRUPT = "image-corrupt"
    COMMAND_FAILED = "command-failed"
    REFUSED = "refused"  # waiting does not help, and nothing more is known of it
    # The VM and its network on the host.
    NETWORK_BEING_LAID = "network-being-laid"
    NETWORK_NOT_LAID = "network-not-laid"
    NETWORK_FAULT = "network-fault"
    PORT_LOST = "port-lost"
    PORT_LOST_ASKED = "port-lost-asked"
    PORT_LOST_ENDING = "port-lost-ending"
    VM_NOT_RUNNING_YET = "vm-not-running-yet"
    VM_STARTED_AGAIN = "vm-started-again"
    VM_DOWN = "vm-down"
    VM_STUCK = "vm-stuck"
    VM_ENDED_LATER = "vm-ended-later"
    VM_ENDING = "vm-ending"
    PAUSED_BY_USER = "paused-by-user"
    PAUSED_FOR_DISK = "paused-for-disk"
    PAUSED = "paused"
    # Setup.
    SETUP_ENDED = "setup-ended"
    SETUP_RUNS = "setup-runs"
    SETUP_NOT_APPLIED = "setup-not-applied"
    SETUP_RESTART_DUE = "setup-restart-due"
    SETUP_RESTART_UNSEEN = "setup-restart-unseen"
    SETUP_RESTARTED = "setup-restarted"
    SETUP_PROBE_FAILS = "setup-probe-fails"
    SETUP_ERROR = "setup-error"
    # Checkpoints.
    CHECKPOINT_BEING_TAKEN = "checkpoint-being-taken"
    CHECKPOINT_AWAITED = "checkpoint-awaited"
    RESTORED = "restored"
    RESTORE_FAILED = "restore-failed"
    # Boots and services.
    STARTING = "starting"
    NO_AGENT = "no-agent"
    BOOTING = "booting"
    BOOTS_TOO_FAST = "boots-too-fast"
    RESTARTS_FOR_EVER = "restarts-for-ever"
    CRASHED = "crashed"
    SERVICES_FAILED = "services-failed"
    SERVICES_PENDING = "services-pending"
    SERVICES_NOTED = "services-noted"
    PROBE_FAILS = "probe-fails"
    PROBE_ALONE_FAILS = "probe-alone-fails"
    RESTART_ASKED = "restart-asked"
    RESTART_ASKED_AGAIN = "restart-asked-again"
    RESET = "reset"
    RESET_WAITED_FOR = "reset-waited-for"
    SHUTDOWN_ASKED = "shutdown-asked"
    # Rotation and health.
    CHECK_PENDING = "check-pending"
    CHECK_FAILS = "check-fails"
    CHECK_AWAITED = "check-awaited"
    BALANCER_ALONE = "balancer-alone"
    JOINING_AGAIN = "joining-again"
    DRAINING = "draining"
    PARTING_AWAITED = "parting-awaited"
    FROZEN = "frozen"
    THAW_AWAITED = "thaw-awaited"
    NOT_ASKED = "not-asked"
    AGENT_SILENT = "agent-silent"
    AGENT_BROKEN = "agent-broken"
    SERVICES_LOST = "services-lost"
    GUEST_BUSY = "guest-busy"
    GUEST_WORD_AWAITED = "guest-word-awaited"
    GUEST_WORD_LAPSED = "guest-word-lapsed"
    FOR_TOO_LONG = "for-too-long"
    # What was asked for, and what healing makes of it.
    PROTECTED = "protected"
    STOPPED = "stopped"
    LEASED = "leased"
    AFTER_AWAITED = "after-awaited"
    BOOTS_IN_TURN = "boots-in-turn"
    ILL_TOGETHER = "ill-together"
    FAILED_TOGETHER = "failed-together"
    HEALED_IN_TURN = "healed-in-turn"
    HEALED_OFTEN = "healed-often"
    REIMAGES_SPENT = "reimages-spent"
    HEALING_OFF = "healing-off"
    STANDSTILL = "standstill"
    BLAMED = "blamed"
    OVERDUE = "overdue"
    FAILED = "failed"
    RESTART_KEEPS = "restart-keeps"
    BOOT_KEEPS = "boot-keeps"
    PROBE_KEEPS = "probe-keeps"
    RECORDED = "recorded"  # in a record of another version: a sentence, and no more


# What says only where or for how long: what is the matter is the reason behind it.
_WRAPS = frozenset(
    {
        Kind.OVERDUE,
        Kind.FAILED,
        Kind.FOR_TOO_LONG,
        Kind.SETUP_RUNS,
        Kind.STARTING,
        Kind.NOT_ASKED,
        Kind.CHECK_AWAITED,
        Kind.NETWORK_NOT_LAID,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Sentence:
    """Whose turn it is (None: nobody knows, or that of what is behind it), and what people read.

    What `words` does not name of detail or reason follows after a colon, then the hint in brackets.
    """

    whose: Whose | None
    words: str = ""


_HOST, _IMAGE, _GUEST, _ANSWERS, _BALANCER, _SERVICE = Whose
GUEST_KEEPS_OUT: Final = frozenset({Kind.GUEST_BUSY, Kind.GUEST_WORD_LAPSED})  # of one that serves
_KINDS: Final = frozenset(map(str, Kind))
_ALL_WHOSE: Final = tuple(map(str, Whose))
_SHAPELESS_CHARS = 300  # of what is no cause at all
_LOST = "somebody deleted its port on the host, and a VM that runs cannot be given another"
_ILL = "{detail} instances of {subject} are ill together ({names}, too): none is restarted or reimaged"

SENTENCES = {
    Kind.UNREACHABLE: Sentence(None),
    Kind.NO_SPACE: Sentence(None),
    Kind.BUSY: Sentence(None),
    Kind.ENDPOINT_REFUSED: Sentence(None),
    Kind.PASSING: Sentence(None),
    Kind.FOREIGN: Sentence(None),
    Kind.IMAGE_CORRUPT: Sentence(None),
    Kind.COMMAND_FAILED: Sentence(None),
    Kind.REFUSED: Sentence(None),
    Kind.NETWORK_BEING_LAID: Sentence(_HOST, "its network is being laid"),
    Kind.NETWORK_NOT_LAID: Sentence(_HOST, "the service's network cannot be laid"),
    Kind.NETWORK_FAULT: Sentence(_HOST),
    Kind.PORT_LOST: Sentence(_HOST, _LOST),
    Kind.PORT_LOST_ASKED: Sentence(_HOST, f"{_LOST}: asked the guest to shut down, to start its VM again"),
    Kind.PORT_LOST_ENDING: Sentence(_HOST, f"{_LOST}: ending the VM, to start it again"),
    Kind.VM_NOT_RUNNING_YET: Sentence(_HOST, "the VM has been started and does not run yet"),
    Kind.VM_STARTED_AGAIN: Sentence(_GUEST, "the VM was off: started it again"),
    Kind.VM_DOWN: Sentence(_HOST, "its VM is {detail}"),
    Kind.VM_STUCK: Sentence(_HOST),
    Kind.VM_ENDED_LATER: Sentence(_HOST, "its VM is ended when {detail} are over (stop.within)"),
    Kind.VM_ENDING: Sentence(_HOST, "ending the VM{detail}"),
    Kind.PAUSED_BY_USER: Sentence(
        _HOST, "somebody has paused the VM: it is left alone until it goes on (virsh resume {subject})"
    ),
    Kind.PAUSED_FOR_DISK: Sentence(_HOST, "the host has paused the VM"),
    Kind.PAUSED: Sentence(_HOST, "the VM is paused"),
    Kind.SETUP_ENDED: Sentence(_GUEST, "the VM ended while Windows Setup ran"),
    Kind.SETUP_RUNS: Sentence(_GUEST, "setup runs in the guest"),
    Kind.SETUP_NOT_APPLIED: Sentence(_ANSWERS, "setup has not applied the answer disc yet"),
    Kind.SETUP_RESTART_DUE: Sentence(_GUEST, "setup has run; waiting for the restart that completes it"),
    Kind.SETUP_RESTART_UNSEEN: Sentence(_GUEST, "setup runs in the guest; its restart has not been seen"),
    Kind.SETUP_RESTARTED: Sentence(_GUEST, "the setup restart was seen"),
    Kind.SETUP_PROBE_FAILS: Sentence(_GUEST, "the guest has no agent; its ready probe says"),
    Kind.SETUP_ERROR: Sentence(_ANSWERS),
    Kind.CHECKPOINT_BEING_TAKEN: Sentence(_HOST, "its checkpoint is being taken"),
    Kind.CHECKPOINT_AWAITED: Sentence(_HOST, "its checkpoint is taken after those of others"),
    Kind.RESTORED: Sentence(_GUEST, "it goes on from its checkpoint, and is being told the time"),
    Kind.RESTORE_FAILED: Sentence(_HOST, "it could not go on from its checkpoint"),
    Kind.STARTING: Sentence(_GUEST, "the guest is starting"),
    Kind.NO_AGENT: Sentence(_IMAGE),
    Kind.BOOTING: Sentence(_GUEST, "the guest is booting"),
    Kind.BOOTS_TOO_FAST: Sentence(_GUEST, "the guest says that it is in another boot already"),
    Kind.RESTARTS_FOR_EVER: Sentence(
        _GUEST, "the guest restarts for ever, by itself: it is out of rotation, and looked at again after a pause"
    ),
    Kind.CRASHED: Sentence(_GUEST, "the guest crashed: starting it again"),
    Kind.SERVICES_FAILED: Sentence(_GUEST, "failed to start: {names}"),
    Kind.SERVICES_PENDING: Sentence(_GUEST, "still starting: {names}"),
    Kind.SERVICES_NOTED: Sentence(_GUEST),
    Kind.PROBE_FAILS: Sentence(_GUEST, "the ready probe says"),
    Kind.PROBE_ALONE_FAILS: Sentence(_GUEST, "its services have started; the ready probe says"),
    Kind.RESTART_ASKED: Sentence(_GUEST, "asked the guest to restart"),
    Kind.RESTART_ASKED_AGAIN: Sentence(_GUEST, "asked the guest to restart again"),
    Kind.RESET: Sentence(_GUEST, "the guest did not restart: reset it"),
    Kind.RESET_WAITED_FOR: Sentence(_GUEST, "reset the guest"),
    Kind.SHUTDOWN_ASKED: Sentence(_GUEST, "asked the guest to shut down"),
    Kind.CHECK_PENDING: Sentence(_GUEST, "joined the pool; the balancer's health check has not passed yet"),
    Kind.CHECK_FAILS: Sentence(_GUEST, "the balancer's health check fails: no traffic until it passes"),
    Kind.BALANCER_ALONE: Sentence(
        _BALANCER, "the balancer's health check fails, and our own probe passes: no traffic until both do"
    ),
    Kind.CHECK_AWAITED: Sentence(None, "out of rotation until its check passes"),
    Kind.JOINING_AGAIN: Sentence(_BALANCER, "joining the pool again"),
    Kind.DRAINING: Sentence(None, "open connections are finishing"),
    Kind.PARTING_AWAITED: Sentence(_GUEST, "its guest has been told of its end and has not let go"),
    Kind.FROZEN: Sentence(_HOST),
    Kind.THAW_AWAITED: Sentence(
        _HOST,
        "it is not asked to go down, for {detail} s at most, until they thaw (virsh domfsthaw {subject})",
    ),
    Kind.NOT_ASKED: Sentence(None, "not asked"),
    Kind.AGENT_SILENT: Sentence(_GUEST, "its agent is silent"),
    Kind.AGENT_BROKEN: Sentence(_GUEST, "its agent is broken"),
    Kind.SERVICES_LOST: Sentence(_GUEST, "no longer active: {names}"),
    Kind.GUEST_BUSY: Sentence(_GUEST, "its guest says that it is busy"),
    Kind.GUEST_WORD_AWAITED: Sentence(_GUEST, "its guest has not said that it is ready (ready.guest)"),
    Kind.GUEST_WORD_LAPSED: Sentence(_GUEST, "its guest has not said again in time that it is ready (ready.guest)"),
    Kind.FOR_TOO_LONG: Sentence(None, "for too long"),
    Kind.PROTECTED: Sentence(_SERVICE, "it is protected: nothing is done to it until: vmrole unprotect"),
    Kind.STOPPED: Sentence(_SERVICE, "vmrole start {subject}"),
    Kind.LEASED: Sentence(None, "a client has it: {subject}"),
    Kind.AFTER_AWAITED: Sentence(
        _SERVICE, "its role begins after {names}, of which nobody serves yet; in {detail} at most, without (after)"
    ),
    Kind.BOOTS_IN_TURN: Sentence(
        _HOST,
        "its VM is off and waits for its turn: {detail} boot at a time after a boot of the host (boot_together)",
    ),
    Kind.ILL_TOGETHER: Sentence(None, f"{_ILL}, each comes back when it is well"),
    Kind.FAILED_TOGETHER: Sentence(None, f"{_ILL}, it is tried again later"),
    Kind.HEALED_IN_TURN: Sentence(_SERVICE, "it is healed when {names} is well again: {detail} of a role at a time"),
    Kind.HEALED_OFTEN: Sentence(
        _GUEST, "it keeps failing, healed {subject} times: {detail} at least before the next (healing)"
    ),
    Kind.REIMAGES_SPENT: Sentence(
        _SERVICE, "{subject} has seen {detail} reimages by healing within an hour: it waits until that is over"
    ),
    Kind.HEALING_OFF: Sentence(_SERVICE, "its role says healing: {detail}, so no more is done to it"),
    Kind.STANDSTILL: Sentence(_SERVICE, "{subject}: {detail}"),
    Kind.BLAMED: Sentence(None),
    Kind.OVERDUE: Sentence(None, "overdue while {subject}"),
    Kind.FAILED: Sentence(None, "failed while {subject}"),
    Kind.RESTART_KEEPS: Sentence(_SERVICE, "nothing of it was touched (longer: restart.within, stop.within)"),
    Kind.BOOT_KEEPS: Sentence(_SERVICE, "its restart was asked for, so it keeps everything (longer: ready.within)"),
    Kind.PROBE_KEEPS: Sentence(
        _SERVICE, "its agent answers and its services have started, so no reimage would mend it"
    ),
    Kind.RECORDED: Sentence(None),
}


TURN = {  # in a sentence
    Whose.HOST: "It is the host's turn",
    Whose.IMAGE: "It is the image's turn",
    Whose.GUEST: "It is the guest's turn",
    Whose.ANSWERS: "It is the answers' turn",
    Whose.BALANCER: "It is the balancer's turn",
    Whose.SERVICE: "It is the service's turn",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """One cause; `str` is its sentence, without a full stop."""

    kind: Kind
    _: dataclasses.KW_ONLY
    blames: Whose | None = None  # who has to act, where whoever saw it knows that better than the kind
    subject: str = ""  # what it is about, where that is not plainly the instance: a phase, a role
    detail: str = ""  # the words of a driver, a guest, a probe
    hint: str = ""
    names: tuple[str, ...] = ()  # of services, or of instances
    reason: Cause | None = None  # what is behind it
    also: Cause | None = None  # what is to be said besides

    @property
    def whose(self) -> Whose | None:
        """Whose turn it is; None: not known."""
        return self.blames or (self.reason.whose if self.reason else None) or SENTENCES[self.kind].whose

    @property
    def about(self) -> str:
        """What it is about, where that is not plainly the instance."""
        return self.subject or ", ".join(self.names)

    @property
    def root(self) -> Cause:
        """What is the matter, without: it took too long, it failed in that phase."""
        return self.reason.root if self.kind in _WRAPS and self.reason else self

    def besides(self, more: Cause) -> Cause:
        """The same, with `more` to be said after all that there is to say."""
        return dataclasses.replace(self, also=self.also.besides(more) if self.also else more)

    def __str__(self) -> str:
        words = SENTENCES[self.kind].words
        told = words.format(subject=self.subject, detail=self.detail, names=", ".join(self.names))
        more = "" if "{detail}" in words else self.detail
        parts = (told, more, str(self.reason) if self.reason else "")
        sentence = ": ".join(part for part in parts if part) + (f" ({self.hint})" if self.hint else "")
        return f"{sentence}; {self.also}" if self.also else sentence


def mentions(cause: Cause | None) -> Iterator[Kind]:
    """The kinds of a cause, of what is behind it, and of what is said besides."""
    if cause is not None:
        yield cause.kind
        yield from mentions(cause.reason)
        yield from mentions(cause.also)


def recorded(body: object) -> Cause | None:
    """What a record has for a cause: None, a sentence of an earlier version, or fields, maybe those of a newer one.

    Whatever it is, it reads as some cause: no record is lost for the sake of a sentence.
    """
    match body:
        case None | "":
            return None
        case str():
            return Cause(Kind.RECORDED, detail=body)
        case dict() if isinstance(kind := body.get("kind"), str):
            return _of_fields(kind, body)
        case _:
            return Cause(Kind.RECORDED, detail=json.dumps(body, ensure_ascii=False)[:_SHAPELESS_CHARS])


def _of_fields(kind: str, body: Mapping[str, Any]) -> Cause:
    def text(key: str) -> str:
        return value if isinstance(value := body.get(key), str) else ""

    whose, names = body.get("blames"), body.get("names")
    cause = Cause(
        Kind(kind) if kind in _KINDS else Kind.RECORDED,
        blames=Whose(whose) if whose in _ALL_WHOSE else None,
        subject=text("subject"),
        detail=text("detail"),
        hint=text("hint"),
        names=tuple(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else (),
        reason=recorded(body.get("reason")),
        also=recorded(body.get("also")),
    )
    if kind in _KINDS:
        return cause
    words = (kind.replace("-", " "), cause.detail, ", ".join(cause.names))
    return dataclasses.replace(cause, detail=": ".join(filter(None, words)), names=())


def of_error(error: VmroleError) -> Cause:
    """An error as a cause."""
    blames = error.whose if isinstance(error, WorldError) else Whose.SERVICE
    return Cause(_kind_of(error), blames=blames, detail=str(error), hint=error.hint)


def _kind_of(error: VmroleError) -> Kind:
    match error:
        case Unreachable():
            return Kind.UNREACHABLE
        case NoSpace():
            return Kind.NO_SPACE
        case Busy():
            return Kind.BUSY
        case EndpointRefused():
            return Kind.ENDPOINT_REFUSED
        case Foreign():
            return Kind.FOREIGN
        case ImageCorrupt():
            return Kind.IMAGE_CORRUPT
        case CommandFailed():
            return Kind.COMMAND_FAILED
        case Permanent():
            return Kind.REFUSED
        case _:
            return Kind.PASSING
