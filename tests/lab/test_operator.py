"""What an operator asks of instances on real virtual machines: stop and start, protect; and guests that take long."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.shop import WEB
from tests.world.waiting import until

SLOW_S = 65  # of a shutdown: a reset after a minute, or an end after less, would cut off what is written then
LEFT_ALONE_S = 12.0  # much longer than a VM that may run is left off
COMES_S = 600.0


def shell(lab: Lab, script: str) -> str:
    """What a script in the guest prints."""
    return lab.guest(WEB, ["/bin/sh", "-c", script])


def instance(daemon: RoleDaemon) -> dict[str, Any]:
    """As the API shows it."""
    found: dict[str, Any] = daemon.json("get", "instances", WEB)[0]
    return found


def is_off(lab: Lab) -> bool:
    """As libvirt has it."""
    return lab.virsh("domstate", WEB).strip() == "shut off"


def test_a_guest_has_its_time_to_shut_down(lab: Lab, ready: RoleDaemon) -> None:
    """Longer than a minute: what it writes to local storage in the end is there after a restart and after a stop."""
    slow = f"sleep {SLOW_S}; echo clean >> /local/cache/log; sync"
    shell(lab, f"sed -i '1a {slow}' /usr/lib/vmrole/quiesce; echo kept > /marker; sync")
    ready.run("restart", WEB, "--wait")
    assert shell(lab, "cat /local/cache/log").split() == ["clean"]
    assert (instance(ready)["generation"], instance(ready)["boot"], instance(ready)["warning"]) == (1, 3, "")
    ready.run("stop", WEB, "--wait")
    assert is_off(lab)
    ready.run("start", WEB, "--wait")
    assert shell(lab, "cat /local/cache/log /marker").split() == ["clean", "clean", "kept"]
    assert (instance(ready)["generation"], instance(ready)["boot"], instance(ready)["warning"]) == (1, 4, "")


def test_what_is_stopped_or_protected_is_left_so(lab: Lab, ready: RoleDaemon) -> None:
    """Over the end of the daemon and of libvirtd; a protected one whose VM has died is healed when it is let go."""
    shell(lab, "echo kept > /marker; echo kept > /local/cache/marker; sync")
    ready.run("stop", WEB, "--wait")
    ready.kill()
    lab.kill_libvirtd()
    lab.start_libvirtd()
    ready.start()
    time.sleep(LEFT_ALONE_S)
    assert (instance(ready)["phase"], is_off(lab)) == ("stopped", True)
    ready.run("start", WEB, "--wait")
    assert shell(lab, "cat /marker /local/cache/marker").split() == ["kept", "kept"]

    ready.run("protect", WEB)
    refused = ready.run("reimage", WEB, check=False)
    assert refused.returncode == 5, refused.stdout + refused.stderr
    os.kill(int(Path(f"/run/libvirt/qemu/{WEB}.pid").read_text()), signal.SIGKILL)
    until(lambda: is_off(lab), COMES_S, what="the VM's end")
    time.sleep(LEFT_ALONE_S)
    assert is_off(lab)
    assert instance(ready)["protected"]
    ready.run("unprotect", WEB)
    ready.run("wait", WEB, "--timeout", "10m")
    assert (instance(ready)["phase"], instance(ready)["generation"]) == ("serving", 1)
    assert shell(lab, "cat /local/cache/marker").split() == ["kept"]
