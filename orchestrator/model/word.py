"""What a guest says of itself by its runtime channel: whether it may have new connections, why, and for how long;
and that it wants to know of its end.
"""

from __future__ import annotations

import dataclasses
import enum


class Says(enum.StrEnum):
    """The two things that it can say."""

    READY = "ready"
    BUSY = "busy"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """The last thing that it said, made harmless. `rules.words` knows whether it still counts."""

    says: Says
    reason: str = ""
    boot_id: str = ""  # of the boot in which it was said, by the guest's own words; "" when it did not say
    at_s: float  # when, seconds since the epoch
    until_s: float = 0.0  # when it lapses; 0: not before the boot ends


class Farewell(enum.StrEnum):
    """How far it is with that in a phase which shuts its guest down without having drained before."""

    NONE = ""  # it has been told before, or there was nobody to tell, or that is over
    DUE = "due"  # nobody has looked yet whether it has asked
    TOLD = "told"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """It has asked to be told before its VM is restarted or stopped. `rules.parting` knows whether that counts."""

    boot_id: str = ""  # of the boot in which it asked, by the guest's own words; "" when it did not say
    asked_at_s: float  # when, seconds since the epoch
    let_go_at_s: float = 0.0  # when it said last that nothing is left to be waited for; 0: never
