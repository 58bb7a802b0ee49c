"""What a step has come to: a closed union, matched by the turn."""

from __future__ import annotations

import dataclasses

from orchestrator.model import Cause, Instance, Phase


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """The phase has reached its end; `instance` carries what was learned, `because` a word for the ledger.

    `then`: the phase that follows, where the table has several and the goal does not choose.
    """

    instance: Instance
    because: str = ""
    then: Phase | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is wrong; look again in `again_s` seconds. `cause`: what for, None for a healthy look.

    `blameless`: the instance cannot help it, so no deadline of its runs. `note`: a line for the ledger.
    """

    instance: Instance
    cause: Cause | None
    again_s: float
    blameless: bool = False
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """Looking again cannot help. `mendable`: whether a restart or a reimage could."""

    cause: Cause
    mendable: bool = True


Outcome = Done | Wait | Failed
