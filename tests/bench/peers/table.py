"""The tables of docs/peers.md, of what a run has written. Pure, but for its command:

python -m tests.bench.peers.table JSON   prints them
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.peers.samples import Sample

OURS: Final = "vmrole"
WARM: Final = "vmrole warm"
CONTROL_TIMES: Final = 3.0  # so many times the best peer's control time is vmrole's
CLEAN_TIMES: Final = 10.0  # and so many times its time to a clean machine that of the warm road
_HEAD: Final = ("reset by", "control", "the guest's own", "agent's first answer", "serves again", "lost", "n")


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One limit: how many times vmrole is ahead, of the best peer, and what it shall be."""

    name: str
    best: str
    times: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether it is as far ahead as it shall be."""
        return self.times >= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "missed"
        return f"{self.name}: {self.times:.2g} times, of {self.best}; limit {self.limit:g}: {verdict}"


def of(found: Mapping[str, Any], image: str, together: int) -> dict[str, list[Sample]]:
    """The samples of each tool, in the order in which they were first measured."""
    tools = dict[str, list[Sample]]()
    for each in found["samples"]:
        sample = Sample.read(each)
        if (sample.image, sample.together) == (image, together):
            tools.setdefault(sample.tool, []).append(sample)
    return tools


def verdicts(found: Mapping[str, Any]) -> list[Verdict]:
    """How far vmrole is ahead of the best peer, with one machine; [] while there is not both."""
    tools = of(found, "debian", 1)
    peers = {tool: samples for tool, samples in tools.items() if not tool.startswith(OURS)}
    if WARM not in tools or not peers:
        return []
    told = []
    for name, what, limit in (
        ("peers_control_times", "control_s", CONTROL_TIMES),
        ("peers_clean_times", "answer_s", CLEAN_TIMES),
    ):
        medians = {tool: _median(samples, what) for tool, samples in peers.items()}
        best = min(medians, key=lambda tool, medians=medians: medians[tool])  # type: ignore[misc]
        told.append(Verdict(name, best, medians[best] / _median(tools[WARM], what), limit))
    return told


def markdown(found: Mapping[str, Any]) -> str:
    """Both tables, who is not in them and why, versions and machine."""
    parts = []
    for image, together, title in (("debian", 1, "One machine, debian"), ("micro", 8, "Eight at once, micro")):
        tools = of(found, image, together)
        if tools:
            parts.append(f"**{title}**\n\n" + "\n".join(_lines(tools)))
    parts += [f"Missing: {tool} {reason}" for tool, reason in found["absent"].items()]
    versions = ", ".join(f"{tool} {version}" for tool, version in found["versions"].items())
    on = found["machine"]
    parts.append(
        f"Versions: {versions}. QEMU {on['qemu']} by {on['accelerator']}, Linux {on['kernel']}, {on['cores']} cores "
        f"of {on['processor']}, at a load of {on['load']:g}. Guests: one processor ({found['guest']['cpu']}), "
        + " and ".join(f"{memory} MiB ({image})" for image, memory in found["guest"]["memory_mib"].items())
        + "."
    )
    return "\n\n".join(parts)


def _lines(tools: Mapping[str, Sequence[Sample]]) -> list[str]:
    lines = [_row(_HEAD), _row(["---"] * len(_HEAD))]
    for tool, samples in tools.items():
        lost = [sample for sample in samples if sample.sent is not None]
        counted = f"{statistics.median(sample.lost or 0 for sample in lost):g}" if lost else "-"
        times = [_told(samples, what) for what in ("control_s", "boot_s", "answer_s", "serves_s")]
        lines.append(_row([tool, *times, counted, str(len(samples))]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _told(samples: Sequence[Sample], what: str) -> str:
    """The median and the range."""
    values = [value for sample in samples if (value := getattr(sample, what)) is not None]
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def _median(samples: Sequence[Sample], what: str) -> float:
    return statistics.median(getattr(sample, what) for sample in samples)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
