"""Whose fault it is that an instance is ill: a table of evidence, the first line that holds decides. Pure.

docs/healing.md has the table as people read it, and a test compares the two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from orchestrator.errors import Whose
from orchestrator.model import Cause
from orchestrator.model.cause import Kind

AT_ONCE_S: Final = 60.0  # What falls ill within so long of each other falls ill at once.
AT_ONCE_MIN: Final = 3  # so many instances at least, of
SERVICES_MIN: Final = 2  # so many services that nobody has changed
AT_ONCE_PART: Final = 0.1  # of all instances of the host
TOGETHER_S: Final = 900.0  # What failed longer ago than this is not ill together with what is ill now.
TEMPLATE_MIN: Final = 2  # so many failures of a template that has never served
CHANGED_S: Final = 900.0  # What falls ill so soon after a change of its file falls ill by it, when all of it does.
OF_THE_HOST: Final = frozenset(
    {Kind.NO_SPACE, Kind.UNREACHABLE, Kind.PAUSED_FOR_DISK, Kind.NETWORK_FAULT, Kind.NETWORK_NOT_LAID}
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is to see of an instance that is ill, and of those that share something with it."""

    kind: Kind | None = None  # of its cause
    strain: str = ""  # what the host itself lacks, in words
    at_once: int = 1  # instances of the host, itself included, that fell ill at once; nobody had changed their file
    services: int = 1  # of so many services
    of_host: int = 1  # instances that the host has
    arriving: bool = False  # it has not served since it was built
    proven: bool = True  # somebody of its role has served from its template
    template_failures: int = 0  # of its template, itself included; made anew and failed again it counts twice
    older: int = 0  # instances of its role that are built from another template, and serve
    older_ill: int = 0  # ... and that are ill
    same_image: bool = False  # whether one of those has its image as well
    ill: int = 1  # of its role, itself included
    size: int = 1  # of its role
    changed_ago_s: float = float("inf")  # how long before it fell ill its service's file was changed


@dataclasses.dataclass(frozen=True, slots=True)
class Blame:
    """Whose fault it is, and what speaks for that, in a sentence."""

    whose: Whose
    words: str

    @property
    def cause(self) -> Cause:
        """As an instance waits for it, or has failed by it."""
        return Cause(Kind.BLAMED, blames=self.whose, detail=self.words)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `says` is "" where it does not hold."""

    whose: Whose
    about: str  # the evidence, for docs/healing.md
    does: str  # what follows, likewise
    says: Callable[[Evidence], str]


def _host_lacks(seen: Evidence) -> str:
    return f"the host is short of what all need ({seen.strain}): nothing is made anew until it is not" * bool(
        seen.strain
    )


def _host_kind(seen: Evidence) -> str:
    return "what it waits for is the host's: nothing of it is made anew" * (seen.kind in OF_THE_HOST)


def _at_once(seen: Evidence) -> str:
    least = max(AT_ONCE_MIN, AT_ONCE_PART * seen.of_host)
    together = seen.at_once >= least and seen.services >= SERVICES_MIN
    said = f"{seen.at_once} instances of {seen.services} services fell ill at once: nothing of them is made anew"
    return said * together


def _balancer(seen: Evidence) -> str:
    return "our own probe passes, and the balancer's check fails" * (seen.kind is Kind.BALANCER_ALONE)


def _template(seen: Evidence, *, same_image: bool) -> str:
    fails = seen.template_failures >= TEMPLATE_MIN and seen.arriving and not seen.proven
    if not fails or seen.older == 0 or seen.older_ill or seen.same_image is not same_image:
        return ""
    what = "answers, which are new, and the image is not" if same_image else "image, which is new"
    return (
        f"{seen.template_failures} times an instance has failed with its {what}; "
        f"the {seen.older} that have the old one serve: it is not made anew"
    )


def _changed(seen: Evidence) -> str:
    all_of_it = seen.ill >= seen.size >= TEMPLATE_MIN
    return "all of its role fell ill after its file was changed" * (all_of_it and seen.changed_ago_s <= CHANGED_S)


TABLE: Final = (
    Line(Whose.HOST, "memory is short on the host", "no rung, until it is not", _host_lacks),
    Line(
        Whose.HOST,
        "it waits for the host: a full disk, libvirt away, its network",
        "no rung, no time runs",
        _host_kind,
    ),
    Line(
        Whose.HOST,
        f"{AT_ONCE_MIN} instances or more, and a tenth of the host's, of {SERVICES_MIN} services or more, fell ill "
        f"within {AT_ONCE_S:.0f} s, and nobody had changed those services within {CHANGED_S / 60:.0f} min",
        f"no rung, no time runs; what has failed is tried again after {TOGETHER_S / 60:.0f} min",
        _at_once,
    ),
    Line(Whose.BALANCER, "our own probe of its endpoints passes, the balancer's check fails", "no rung", _balancer),
    Line(
        Whose.IMAGE,
        f"{TEMPLATE_MIN} failures in setup or starting with an image from which nobody of the role has ever served; "
        "those of the role with another image serve",
        "failed, no reimage; the rollout halts; the image is suspect",
        lambda seen: _template(seen, same_image=False),
    ),
    Line(
        Whose.ANSWERS,
        "the same where those that serve have the same image, and other answers or another size",
        f"failed, no reimage; the rollout halts; tried again after {TOGETHER_S / 60:.0f} min",
        lambda seen: _template(seen, same_image=True),
    ),
    Line(
        Whose.SERVICE,
        f"all of a role, two at least, are ill within {CHANGED_S / 60:.0f} min after a change of the file",
        "no rung; what was never set up is tried again",
        _changed,
    ),
)
"""The first line that holds decides; where none does it is this guest, and the ladder goes on."""


def judge(seen: Evidence) -> Blame | None:
    """Whose fault it is; None: its own, as far as anybody can see."""
    for line in TABLE:
        if words := line.says(seen):
            return Blame(line.whose, words)
    return None


def table() -> str:
    """The table as docs/healing.md has it."""
    rows = [f"| the {line.whose} | {line.about} | {line.does} |" for line in TABLE]
    last = "| this guest | none of these | the ladder |"
    return "\n".join(["| whose fault | evidence | what follows |", "|---|---|---|", *rows, last])
