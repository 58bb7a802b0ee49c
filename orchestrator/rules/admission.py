"""What an image's test makes of what it saw: the canary's service file, how long its phases took, and the verdicts.

Pure: the command line deploys the canary by the ordinary verbs and hands over what the ledger and the agent said.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ROOM = 3.0  # A suggested deadline is so many times what the slowest canary took; a busy host is slower than this one.
LEAST_S = 60.0
GENERATIONS = 3  # the first deployment and two reimages
CANARY = "canary"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One generation of the canary. `phases_s` by phase, in the order in which they were gone through (seconds)."""

    generation: int
    phases_s: Mapping[str, float]
    boots: int

    @property
    def total_s(self) -> float:
        """From the overlay to the rotation."""
        return sum(self.phases_s.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One question that was put to the image. `good` None: a fact, neither good nor bad."""

    subject: str
    good: bool | None
    detail: str


def service_file(service: str, image: str, *, vcpus: int, memory: str, within: str = "", answers: str = "") -> str:
    """A service of one instance without endpoints: it runs off rotation. `answers` is YAML, as below `answers:`."""
    lines = [
        f"service: {service}",
        "roles:",
        f"  {CANARY}:",
        f'    image: "{image}"',
        f'    size: {{vcpus: {vcpus}, memory: "{memory}"}}',
    ]
    if within:
        lines += [f'    setup: {{within: "{within}"}}', f'    ready: {{within: "{within}"}}']
    if answers.strip():
        lines += ["    answers:", textwrap.indent(textwrap.dedent(answers).rstrip(), " " * 6)]
    return "\n".join(lines) + "\n"


def laps(events: Iterable[Mapping[str, Any]]) -> list[Lap]:
    """One for each generation that came to serve; `events` are the canary's, oldest first (see model.Event).

    An event tells of the phase that was entered at its time. What came before the overlay, the stop and the erasing
    of the generation before, is no part of a lap.
    """
    found: list[Lap] = []
    phases_s: dict[str, float] = {}
    last: Mapping[str, Any] | None = None
    for event in events:
        if not event["phase"]:
            continue
        if event["phase"] == "requested" or (last is not None and event["generation"] != last["generation"]):
            phases_s, last = {}, None
        if last is not None and event["phase"] != last["phase"]:
            phases_s[last["phase"]] = phases_s.get(last["phase"], 0.0) + event["at_s"] - last["at_s"]
        if event["phase"] == "serving" and phases_s:
            found.append(Lap(generation=event["generation"], phases_s=phases_s, boots=event["boot"]))
            phases_s, last = {}, None
            continue
        if last is None or event["phase"] != last["phase"]:
            last = event
    return found


def suggested(seen: Sequence[Lap]) -> dict[str, float]:
    """Deadlines for the image, as model.Deadlines has them; `seen` holds at least one lap."""
    return {
        f"{kind}_s": max(LEAST_S, float(math.ceil(ROOM * max(lap.phases_s.get(phase, 0.0) for lap in seen))))
        for kind, phase in (("setup", "setup"), ("ready", "starting"))
    }


def findings(
    image: Mapping[str, Any], hostname: str, agent: Mapping[str, Any], seen: Sequence[Lap], restarts: bool
) -> list[Finding]:
    """The verdicts: was the answer file honoured, did setup end, was it the same twice more, what may be asked."""
    told = str(agent["host_name"])
    boots = sorted({lap.boots for lap in seen})
    forbidden = ", ".join(agent["forbidden"])
    named = told.lower() == hostname.lower() if told else None
    return [
        Finding(subject="system", good=None, detail=f"{agent['system'] or 'unknown'}, agent {agent['version']}"),
        Finding(subject="agent calls", good=None if forbidden else True, detail=_calls(forbidden)),
        Finding(
            subject="name",
            good=named,
            detail=f"asked for {hostname}, the guest says {told}" if told else "the agent does not tell the name",
        ),
        Finding(
            subject="setup restart",
            good=all(lap.boots >= 2 for lap in seen) if restarts else None,
            detail=f"boots in a generation: {', '.join(map(str, boots))}",
        ),
        Finding(
            subject="reimage",
            good=len(seen) == GENERATIONS,
            detail=f"{len(seen)} of {GENERATIONS} generations of {image['sha256'][:12]} came to serve",
        ),
    ]


def _calls(forbidden: str) -> str:
    return f"forbidden or unknown: {forbidden}" if forbidden else "all that vmrole uses are allowed"
