"""What a guest says of its services, written as people read it."""

from __future__ import annotations

import re

from orchestrator.model import Services, Unit, UnitState


def heard(
    *, started: bool, pending: tuple[str, ...] = (), failed: tuple[str, ...] = (), note: str = "", verdict: str = ""
) -> Services:
    """The services, each unit as `str` shows it: "name", "name (how)", "name: why"."""
    units = (*(_failed(text) for text in failed), *(_pending(text) for text in pending))
    return Services(started=started, units=units, note=note, verdict=verdict)


def _failed(text: str) -> Unit:
    name, _, why = text.partition(": ")
    return Unit(name, UnitState.FAILED, why)


def _pending(text: str) -> Unit:
    if match := re.fullmatch(r"(.*) \((.*)\)", text):
        return Unit(match[1], UnitState.PENDING, match[2])
    name, _, why = text.partition(": ")
    return Unit(name, UnitState.ABSENT if why else UnitState.PENDING, why)
