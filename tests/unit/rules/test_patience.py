"""Whose shutdown is waited for, before its generation ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.model import Attachment, Instance, LocalStorage, Phase, Road, Role, RoleDrive, Stop
from orchestrator.rules.patience import is_asked_to_stop
from tests.world.fabric import web_role
from tests.world.instances import instance_of

WARM = web_role(local_storage=(), reimage=Road.WARM)


def stopping(role: Role, phase: Phase = Phase.STOPPING) -> Instance:
    """An instance of the role on its way to another generation."""
    return instance_of(role, phase=phase)


def with_goal(role: Role) -> Instance:
    """It is warm by now, and is to be of `role`."""
    ends = stopping(WARM)
    return replace(ends, goal=replace(ends.goal, role=role))


def with_a_drive_by_hand() -> Instance:
    """Somebody has attached one to it."""
    ends = stopping(WARM)
    return replace(ends, goal=replace(ends.goal, attached=(Attachment(drive="db", name="data"),)))


def removed() -> Instance:
    """It is warm, and goes for good."""
    ends = stopping(WARM)
    return replace(ends, goal=replace(ends.goal, serve=False))


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_nobody_waits_for_what_is_thrown_away(road: Road) -> None:
    """The system disk is all that it has, and the next generation does not begin with it."""
    assert not is_asked_to_stop(stopping(replace(WARM, reimage=road)))


@pytest.mark.parametrize(
    "ends",
    [
        lambda: stopping(replace(WARM, reimage=Road.COLD)),
        lambda: stopping(replace(WARM, local_storage=(LocalStorage(name="data", size_mib=64),))),
        lambda: stopping(replace(WARM, drives=(RoleDrive(name="data", drive="db-{index}"),))),
        lambda: stopping(replace(WARM, keep_failed_disk=True)),
        lambda: stopping(replace(WARM, stop=Stop(within_s=90.0))),
        lambda: stopping(WARM, Phase.HALTING),
        lambda: with_goal(replace(WARM, reimage=Road.COLD)),
        with_a_drive_by_hand,
        removed,
    ],
    ids=["cold", "storage", "drives", "kept-disk", "within", "stop", "cold-from-now-on", "by-hand", "removal"],
)
def test_what_is_kept_or_asked_for_is_waited_for(ends: Callable[[], Instance]) -> None:
    """Each by itself."""
    assert is_asked_to_stop(ends())
