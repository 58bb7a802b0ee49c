"""How far the last backup is that was given to a daemon to be restored."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class RestoreState(enum.StrEnum):
    """In this order; one that was refused has changed nothing."""

    NONE = "none"
    PENDING = "pending"  # it is there as a whole, and the next start of the daemon restores it
    RESTORED = "restored"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """The last backup that was given, by the SHA-256 of its bytes.

    `records`: how many of each kind it has. `former`: the file in which the records that it replaced are kept.
    `refusal` and `hint`: why it was not restored, and what to do.
    """

    state: RestoreState = RestoreState.NONE
    sha256: str = ""
    records: Mapping[str, int] = dataclasses.field(default_factory=dict)
    former: str = ""
    refusal: str = ""
    hint: str = ""
