"""Guests that lack what others have, and guests that are held up from outside, through a whole life each."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.lab.edited_disk import edited
from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon, processes_naming
from tests.lab.services import SERVES_S, URL, VIP, apply, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]
SILENCE_S = 60.0
NOTICED_S = 400.0  # A healthy instance is looked at once a minute, and the machine may be shared.

WORKERS = f"""service: work
vip: {VIP}
roles:
  w:
    image: micro
    instances: 3
    size: {{vcpus: 1, memory: 128 MiB}}
    ready: {{within: 10 min, silence: {SILENCE_S:.0f} s}}
"""
LACKING = f"""service: shop
vip: {VIP}
roles:
  silent:
    image: silent
    instances: 1
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints: {{http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}}}
    setup: {{within: 10 min}}
    ready: {{agent: false, probe: {{port: 8080, path: /healthz}}, within: 10 min}}
  plain:
    image: micro
    instances: 1
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints: {{http: {{port: 81, target: 8080, protocol: http, probe: {{path: /healthz}}}}}}
    answers: none
    ready: {{within: 10 min}}
  bare:
    image: silent
    instances: 1
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints: {{http: {{port: 82, target: 8080, protocol: http, probe: {{path: /healthz}}}}}}
    answers: none
    ready: {{agent: false, probe: {{port: 8080, path: /healthz}}, within: 10 min}}
"""
PORTS = {"silent-0": 80, "plain-0": 81, "bare-0": 82}


def boot_of(lab: Lab, name: str) -> str:
    """The boot that whoever asks the VIP is answered from."""
    asked = lab.client.run(["curl", "--silent", "--max-time", "20", f"{URL.removesuffix('/')}:{PORTS[name]}/"])
    boot = asked.stdout.partition('"boot": "')[2].partition('"')[0]
    assert boot, asked.stdout
    return boot


def test_a_stopped_qemu_and_a_frozen_guest_are_told_apart(lab: Lab, ready: RoleDaemon) -> None:
    """Neither is asked by a balancer. One is told by its process and its monitor, with what helps; the other has a
    backup of its own file systems, which is longer than its agent may be silent. Meanwhile the third is restarted.
    Both go on in the boot in which they were, and are well again. The first is protected: however slow the machine
    is, nothing ends its VM while this is looked at.
    """
    apply(ready, WORKERS)
    ready.run("protect", "w-0.work")
    before = {name: instance(ready, name) for name in ("w-0", "w-1")}
    (qemu,) = processes_naming("guest=w-0.work")
    os.kill(qemu, signal.SIGSTOP)
    lab.virsh("domfsfreeze", "w-1.work")
    frozen_at_s = time.monotonic()
    try:
        until(
            lambda: f"kill -CONT {qemu}" in instance(ready, "w-0")["waiting"],
            NOTICED_S,
            what="what is wrong with QEMU",
        )
        assert f"kill -CONT {qemu}" in ready.run("why", "w-0.work").stdout
        until(lambda: "file systems are frozen" in instance(ready, "w-1")["waiting"], NOTICED_S, what="the freeze")
        ready.run("restart", "w-2.work", "--wait")
        assert instance(ready, "w-2")["boot"] == 3
        until(lambda: time.monotonic() - frozen_at_s > 2.5 * SILENCE_S, SERVES_S, what="a freeze longer than silence")
        assert "file systems are frozen" in instance(ready, "w-1")["waiting"]
        assert [instance(ready, name)["phase"] for name in before] == ["serving", "serving"]
    finally:
        os.kill(qemu, signal.SIGCONT)
        lab.virsh("domfsthaw", "w-1.work")
        ready.run("unprotect", "w-0.work")
    for name, seen in before.items():
        until(lambda name=name: instance(ready, name)["waiting"] == "", NOTICED_S, what=f"{name} to be well")
        now = instance(ready, name)
        assert (now["phase"], now["boot"], now["vm_uuid"]) == ("serving", seen["boot"], seen["vm_uuid"])
        assert lab.guest(f"{name}.work", ["/bin/sh", "-c", "echo well >/file; cat /file"]).strip() == "well"
    ready.run("delete", "service", "work", "--wait")


@pytest.fixture
def silent_image(micro_image: Path, tmp_path: Path) -> Path:
    """The micro image without QEMU's guest agent."""
    with edited(micro_image, tmp_path, "silent") as (disk, made):
        disk.read("/usr/sbin/qemu-ga")
        disk.remove("/usr/sbin/qemu-ga")
    return made


def test_guests_without_agent_and_without_answers_live_as_others_do(
    lab: Lab, ready: RoleDaemon, silent_image: Path
) -> None:
    """Without systemd all of them; one without an agent, one that reads no answers, one with neither: deployed,
    restarted, reimaged, deleted, each behind its VIP at every stage.
    """
    ready.run("image", "add", str(silent_image), "--name", "silent")
    apply(ready, LACKING)
    answers.distinct(lab.client, URL, 1, 20.0)
    seen = {name: boot_of(lab, name) for name in PORTS}
    made = {name: instance(ready, name) for name in PORTS}
    assert {name: each["boot"] for name, each in made.items()} == {"silent-0": 2, "plain-0": 1, "bare-0": 1}

    ready.run("restart", "shop", "--together", "3", "--wait")
    for name in PORTS:
        now = instance(ready, name)
        assert (now["phase"], now["generation"], now["boot"]) == ("serving", 1, made[name]["boot"] + 1)
        assert now["vm_uuid"] == made[name]["vm_uuid"]
        assert boot_of(lab, name) != seen[name]

    ready.run("reimage", "shop", "--together", "3", "--wait")
    for name in PORTS:
        now = instance(ready, name)
        assert (now["phase"], now["generation"], now["boot"]) == ("serving", 2, made[name]["boot"])
        assert now["vm_uuid"] != made[name]["vm_uuid"]
        boot_of(lab, name)
    assert ready.json("verify") == []
    ready.run("delete", "service", "shop", "--wait")
    assert lab.virsh("list", "--all", "--name").strip() == ""
