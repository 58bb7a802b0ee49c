"""Automation that is paused, on real virtual machines."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.shop import WEB
from tests.world.waiting import until

LEFT_ALONE_S = 12.0  # much longer than a VM that may run is left off
COMES_S = 600.0


def test_a_vm_that_dies_stays_dead_until_automation_goes_on(lab: Lab, ready: RoleDaemon) -> None:
    """Over a restart of the daemon; it is out of rotation at once, every list says why, and it comes back whole."""

    def is_off() -> bool:
        return lab.virsh("domstate", WEB).strip() == "shut off"

    lab.guest(WEB, ["/bin/sh", "-c", "echo kept > /marker; sync"])
    assert ready.run("pause", "shop").stdout == "automation of service shop is paused\n"
    os.kill(int(Path(f"/run/libvirt/qemu/{WEB}.pid").read_text()), signal.SIGKILL)
    until(is_off, COMES_S, what="the VM's end")
    until(
        lambda: ready.json("get", "instances", WEB)[0]["phase"] != "serving", COMES_S, what="its way out of rotation"
    )
    ready.kill()
    ready.start()
    time.sleep(LEFT_ALONE_S)
    assert is_off()
    row = ready.json("get", "instances", WEB)[0]
    assert "automation of service shop is paused" in row["waiting"]
    assert "vmrole resume shop" in ready.run("get", "services").stderr
    assert "Automation of service shop is paused since" in ready.run("why", WEB).stdout
    ready.run("resume", "shop")
    ready.run("wait", WEB, "--timeout", "10m")
    row = ready.json("get", "instances", WEB)[0]
    assert (row["phase"], row["generation"]) == ("serving", 1)
    assert lab.guest(WEB, ["/bin/sh", "-c", "cat /marker"]).split() == ["kept"]
    assert "automation" not in ready.run("get", "services").stderr
