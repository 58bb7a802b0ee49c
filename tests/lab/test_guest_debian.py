"""Readiness of a real Debian with systemd and cloud-init: pending, failed, ignored, named units and a command."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model import Instance, Ready, Services, Size
from tests.contract.suites.guest import until_another_boot
from tests.contract.suites.stage import make_instance
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage

_BOOT_S = 300.0  # 30 to 60 s on a quiet machine
_USER_DATA = """#cloud-config
write_files:
- path: /etc/systemd/system/broken.service
  content: |
    [Service]
    Type=oneshot
    ExecStart=/bin/false
    [Install]
    WantedBy=multi-user.target
- path: /etc/systemd/system/slow.service
  content: |
    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/bin/sleep 20
    [Install]
    WantedBy=multi-user.target
runcmd:
- [systemctl, enable, broken.service, slow.service]
"""


@pytest.fixture
def stage(lab: Lab, debian_image: Path) -> Iterator[RealStage]:
    """A stage with the debian image."""
    with real_stage(lab, debian_image) as stage:
        yield stage


@pytest.mark.timeout(1200)
def test_systemd_and_cloud_init(stage: RealStage) -> None:
    """An instance is ready when all that starts by itself has started: what is slow is waited for by name, what
    failed is named and can be ignored, and the role's own units and command are asked.
    """
    instance = make_instance(stage)
    role = dataclasses.replace(instance.role, user_data=_USER_DATA, size=Size(memory_mib=512))
    instance = dataclasses.replace(instance, role=role)
    stage.lay(instance)
    stage.hypervisor.start(instance)
    setup = until_another_boot(stage, instance, set_up=True, within_s=2 * _BOOT_S)
    instance = dataclasses.replace(instance, boot_id=setup.boot_id)

    answers: list[Services] = []

    def settled() -> bool:
        said = stage.guest.services(instance)
        if isinstance(said, Services):
            answers.append(said)
        return bool(answers) and not answers[-1].pending and bool(answers[-1].failed)

    stage.until(settled, _BOOT_S)
    assert not any(said.started for said in answers)
    assert any("slow.service" in said.pending for said in answers), answers
    assert answers[-1].failed == ("broken.service",)

    ignore = ("broken.service",)
    assert asked(stage, instance, Ready(ignore=ignore)) == Services(started=True)
    assert asked(stage, instance, Ready(ignore=ignore, units=("slow.service",))) == Services(started=True)
    assert asked(stage, instance, Ready(ignore=ignore, units=("none.service",))).pending == (
        "none.service (inactive)",
    )
    assert asked(stage, instance, Ready(ignore=ignore, command=("/bin/true",))) == Services(started=True)
    said = asked(stage, instance, Ready(ignore=ignore, command=("/bin/sh", "-c", "echo not yet; exit 3")))
    assert (said.started, said.note) == (False, "ready.command exits 3: not yet")


def asked(stage: RealStage, instance: Instance, ready: Ready) -> Services:
    """The final answer under these conditions, however many turns it takes."""
    goal = dataclasses.replace(instance.goal, role=dataclasses.replace(instance.role, ready=ready))
    of = dataclasses.replace(instance, goal=goal)
    answers: list[Services] = []

    def answered() -> bool:
        said = stage.guest.services(of)
        if isinstance(said, Services) and said.note not in ("the guest is being asked for its services",):
            answers.append(said)
        return bool(answers)

    stage.until(answered, 60)
    return answers[-1]
