"""The phases of an instance, and the table of what is so in each: who asks about a phase asks this table.

`lifecycle` has the road through them. Beside it, the steps and this file nobody names a phase, so that a new one is
a member and a line here, a line there, and its step.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping
from typing import Final

from orchestrator.model.world import Power


class Phase(enum.StrEnum):
    """How far an instance has come. Only the reconciler writes it; `lifecycle` says what each one does."""

    REQUESTED = "requested"  # recorded; nothing of this generation exists on the host yet
    LAYERED = "layered"  # the overlay lies on the image
    ANSWERED = "answered"  # the answer disc is written
    SETUP = "setup"  # the VM runs; setup goes through its restart
    STARTING = "starting"  # setup is complete; auto-start services are starting
    SAVING = "saving"  # its memory and its disk are kept, before its first traffic
    RESTORING = "restoring"  # it goes on from its checkpoint
    READY = "ready"  # all have started; joining the pool
    SERVING = "serving"  # in rotation
    DRAINING = "draining"  # out of rotation; open connections finish
    LEASED = "leased"  # one client has it; out of rotation, and reimaged when he has it no more
    RESTARTING = "restarting"  # the guest goes through a restart
    STOPPING = "stopping"  # the VM is being shut down
    HALTING = "halting"  # the same, of one that shall be off and stay as it is
    STOPPED = "stopped"  # off, because somebody asked for that, until somebody starts it
    ERASING = "erasing"  # VM, overlay and disc are being removed
    FAILED = "failed"  # keeps its evidence until a human or the healing ladder acts
    GONE = "gone"  # nothing is left; the record goes with the last save

    @property
    def traits(self) -> Traits:
        """What is so in this phase."""
        return TABLE[self]


class Seating(enum.Enum):
    """What becomes of an instance's place in its pools."""

    TAKEN = enum.auto()
    KEPT = enum.auto()
    GIVEN_UP = enum.auto()  # out of rotation at once; what is open may finish
    NONE = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is so of every instance that is in a phase. What is not said is not so."""

    has_vm: bool = False  # a VM is defined, whatever it does
    has_overlay: bool = False
    starts_vm: bool = False  # its step starts the VM for the first time
    keeps_vm: bool = False  # its step starts the VM again when it is off
    sets_up: bool = False  # the guest goes through its setup
    restarts: bool = False  # the guest goes through a restart
    boots: bool = False  # a boot has yet to lead into rotation
    saves: bool = False  # parts of a checkpoint may lie there that no record has yet
    takes_checkpoint: bool = False  # without its VM for that, sooner or later
    boot_may_end: bool = False  # at any moment, without a fault
    contradicts: Collection[Power] = ()  # how its VM cannot be
    seat: Seating | None = None  # None: whatever it is
    arrives: bool = False  # set up, on its way into rotation
    awaits_services: bool = False
    serves: bool = False
    wishes_wait: bool = False  # what is asked for has not begun here, and can be taken back
    goes_off: bool = False  # because somebody asked for that; set up, it keeps its overlay
    is_off: bool = False
    is_leased: bool = False  # it is a client's: nothing but a reimage leads on, and nothing is healed
    leaves: bool = False  # the generation is on its way to its end, or there
    shuts_down: bool = False  # ... and its VM is being shut down for that
    erases: bool = False  # ... and its parts are being removed
    has_failed: bool = False
    is_gone: bool = False

    @property
    def may_be_in_pool(self) -> bool:
        """Whether anything of it may be in a pool."""
        return self.seat in (Seating.TAKEN, Seating.KEPT, Seating.GIVEN_UP)

    @property
    def drains(self) -> bool:
        """Whether its open connections finish, without new ones."""
        return self.seat is Seating.GIVEN_UP

    @property
    def ends(self) -> bool:
        """Whether it is on its way to its end or off: what fails here is not healed by more of the same."""
        return self.leaves or self.goes_off

    @property
    def is_settled(self) -> bool:
        """Whether it is nowhere under way."""
        return self.serves or self.has_failed or self.goes_off or self.is_leased or self.is_gone


_NOT_OFF: Final = frozenset(Power) - {Power.OFF}
_NOT_RUNNING: Final = frozenset(Power) - {Power.RUNNING}

P = Phase
# fmt: off
TABLE: Final[Mapping[Phase, Traits]] = {
    P.REQUESTED:  Traits(),
    P.LAYERED:    Traits(has_overlay=True),
    P.ANSWERED:   Traits(has_overlay=True, starts_vm=True),
    P.SETUP:      Traits(has_overlay=True, has_vm=True, keeps_vm=True, boot_may_end=True, sets_up=True),
    P.STARTING:   Traits(has_overlay=True, has_vm=True, keeps_vm=True, boots=True, arrives=True, wishes_wait=True, awaits_services=True),
    P.SAVING:     Traits(saves=True, takes_checkpoint=True),
    P.RESTORING:  Traits(keeps_vm=True, saves=True),
    P.READY:      Traits(has_overlay=True, has_vm=True, contradicts=_NOT_RUNNING, seat=Seating.TAKEN, boots=True, arrives=True, wishes_wait=True),
    P.SERVING:    Traits(has_overlay=True, has_vm=True, contradicts=_NOT_RUNNING, seat=Seating.KEPT, serves=True, wishes_wait=True),
    P.DRAINING:   Traits(has_overlay=True, has_vm=True, seat=Seating.GIVEN_UP, wishes_wait=True),
    P.LEASED:     Traits(has_overlay=True, has_vm=True, seat=Seating.NONE, is_leased=True),
    P.RESTARTING: Traits(has_overlay=True, has_vm=True, keeps_vm=True, boot_may_end=True, seat=Seating.NONE, boots=True, restarts=True),
    P.HALTING:    Traits(seat=Seating.NONE, goes_off=True),
    P.STOPPED:    Traits(contradicts=_NOT_OFF, seat=Seating.NONE, goes_off=True, is_off=True),
    P.STOPPING:   Traits(has_overlay=True, seat=Seating.NONE, leaves=True, shuts_down=True),
    P.ERASING:    Traits(leaves=True, erases=True),
    P.FAILED:     Traits(seat=Seating.NONE, has_failed=True, wishes_wait=True),
    P.GONE:       Traits(leaves=True, is_gone=True),
}
# fmt: on

FIRST: Final = P.REQUESTED
_NOTHING: Final = Traits()


def traits_of(word: str) -> Traits:
    """What is so in the phase of that name, as a ledger has it; nothing in one that this version does not know."""
    return TABLE.get(word, _NOTHING)  # type: ignore[call-overload,no-any-return] # its names are strings
