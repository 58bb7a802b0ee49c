"""A guest in which something else than its agent floods the agent's port, seen through a real libvirt."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model import Identity, Silence
from tests.contract.suites.guest import until_another_boot
from tests.contract.suites.hypervisor import started
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage

BREAKS_S, MENDS_S = 120.0, 300.0
# The keeper of the agent sleeps meanwhile; afterwards it finds the agent gone, and starts another.
_EVIL = """#!/bin/sh
keeper=$(busybox pidof agent)
sleep 1
kill -STOP $keeper; killall -9 qemu-ga
port=$(readlink -f /dev/virtio-ports/org.qemu.guest_agent.0)
until (: 3<>$port) 2>/dev/null; do usleep 100000; done
exec 3<>$port
while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&3; done &
sleep 60; kill -9 $!
exec 3>&-
kill -CONT $keeper
"""


@pytest.fixture
def stage(lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """A stage of its own for each test."""
    with real_stage(lab, micro_image) as stage:
        yield stage


def test_an_agent_that_makes_no_sense_is_seen_as_such(stage: RealStage, lab: Lab) -> None:
    """It is told from one that is silent, for as long as it lasts, and from one that is back."""
    instance = started(stage)
    identity = until_another_boot(stage, instance, set_up=True)
    instance = dataclasses.replace(instance, boot_id=identity.boot_id, set_up=True)
    script = base64.b64encode(_EVIL.encode()).decode()
    start = (
        f"echo {script} | base64 -d >/tmp/evil; chmod 755 /tmp/evil; setsid /tmp/evil </dev/null >/tmp/said 2>&1 &"
    )
    lab.guest(instance.name, ["/bin/sh", "-c", f"{start} exit 0"])

    def is_broken() -> bool:
        said = stage.guest.identity(instance)
        return isinstance(said, Silence) and said.broken

    stage.until(is_broken, BREAKS_S)
    stage.until(lambda: isinstance(stage.guest.identity(instance), Identity), MENDS_S)
    said = stage.guest.identity(instance)
    assert isinstance(said, Identity)
    assert said.boot_id == identity.boot_id
