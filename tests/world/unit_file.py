"""The systemd unit, read."""

from __future__ import annotations

from tests.world.places import REPOSITORY

UNIT = REPOSITORY / "docs" / "examples" / "vmrole.service"


def values(directive: str) -> list[str]:
    """All words of a directive, however many lines it has."""
    lines = UNIT.read_text().splitlines()
    return [word for line in lines if line.startswith(f"{directive}=") for word in line.partition("=")[2].split()]
