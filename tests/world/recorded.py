"""An instance as a record, at any point of its life."""

from __future__ import annotations

from orchestrator.model import (
    Goal,
    Incarnation,
    Instance,
    Nic,
    Phase,
    Role,
)
from orchestrator.model.cause import recorded
from tests.world.instances import instance_of

ROLE = Role(name="web", image="micro", image_sha256="a" * 64)


def instance(phase: Phase, at: tuple[int, int], wanted: tuple[int, int]) -> Instance:
    """web-0.shop."""
    return instance_of(
        ROLE,
        uid="6f8e2f0a-5f0e-4a52-9b0c-2f4d8a1f6c11",
        nic=Nic(mac="52:54:00:00:00:01", address="10.90.0.10", tap="vrt-1"),
        goal=Goal(role=ROLE, wanted=Incarnation(*wanted)),
        phase=phase,
        set_up=True,
        generation=at[0],
        boot=at[1],
        failed_by=recorded("setup did not end"),
    )
