"""What is taken of one reset, and what is left of it when the guest's own time is taken off. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reset of one machine. Times are seconds since the first command of the tool."""

    tool: str
    image: str
    together: int  # machines that were reset at once
    qemu_s: float  # the process of the new machine's QEMU had started
    answer_s: float  # its agent had answered for the first time, and what was written before was gone
    returned_s: float  # the tool's last command had returned
    shutdown_s: float = 0.0  # for how long the old guest was shutting down, where the tool lets it
    serves_s: float | None = None  # somebody had an answer of the new machine: by the VIP, or at its own address
    lost: int | None = None  # of what was asked from the first command on until then
    sent: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.qemu_s <= self.answer_s:
            raise ValueError(
                f"{self.tool}: QEMU started at {self.qemu_s:.3f} s and answered at {self.answer_s:.3f} s"
            )
        if not 0.0 <= self.shutdown_s <= self.qemu_s:
            raise ValueError(f"{self.tool}: a shutdown of {self.shutdown_s:.3f} s before {self.qemu_s:.3f} s")

    @property
    def boot_s(self) -> float:
        """The guest's own: from the start of QEMU's process to the agent's answer, a restored memory as well."""
        return self.answer_s - self.qemu_s

    @property
    def control_s(self) -> float:
        """The tool's own: until the agent's answer, without this machine's own boot, nor the old guest's shutdown."""
        return self.answer_s - self.boot_s - self.shutdown_s

    def written(self) -> dict[str, Any]:
        """As it is kept in JSON, with what is derived of it."""
        return dataclasses.asdict(self) | {"boot_s": self.boot_s, "control_s": self.control_s}

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """What `written` wrote."""
        return cls(**{field.name: kept[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent, when its answer or its end had come (seconds of one clock), and whether it was
    an answer.
    """

    sent_s: float
    ended_s: float
    answered: bool


def first_answer_s(asked: Iterable[Asked], since_s: float) -> float | None:
    """When the first answer had come to what was asked since then; None while there is none."""
    return min((one.ended_s for one in asked if one.answered and one.sent_s >= since_s), default=None)


def lost(asked: Iterable[Asked], since_s: float, until_s: float) -> tuple[int, int]:
    """How many got no answer, and how many were sent, of those that were sent in that time."""
    sent = [one for one in asked if since_s <= one.sent_s <= until_s]
    return sum(not one.answered for one in sent), len(sent)


def shutdown_s(events: Sequence[Mapping[str, Any]], since_s: float) -> float:
    """How long the guest's shutdown took, by vmrole's ledger since then (seconds since the epoch); 0 for none.

    It is the time between the event that begins the phase `stopping` and the next one of the instance.
    """
    later = [event for event in events if event["at_s"] >= since_s]
    for event, after in itertools.pairwise(later):
        if event["phase"] == "stopping":
            return float(after["at_s"]) - float(event["at_s"])
    return 0.0
