"""A backup freezes guests' file systems while they start and while they shall go down: real guests, a real freeze."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from orchestrator.rules.patience import THAW_WITHIN_S
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, VIP, apply, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]
COMES_S = 1500.0  # The machine may be shared.
HELD_S = 45.0  # many looks at a guest that starts
STOP_WITHIN_S = 120
# Each guest is in the middle of a write until it goes down in peace.
SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 2
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    localStorage:
      cache: {{size: 32 MiB}}
    setup: {{within: 30 min}}
    ready: {{command: [/bin/test, -e, /run/good], within: 30 min}}
    stop: {{within: {STOP_WITHIN_S} s}}
    restart: {{within: 30 min}}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        cat > /etc/vmrole/start.d/writer <<'END'
        #!/bin/sh
        {{
            trap 'echo end >> /local/cache/log; exit' TERM
            echo begin >> /local/cache/log
            while :; do echo line >> /local/cache/log; usleep 100000; done
        }} &
        END
        chmod 755 /etc/vmrole/start.d/writer
"""
FROZEN = "file systems are frozen"


def starting(daemon: RoleDaemon) -> list[str]:
    """The names of guests that have started all but what their role asks for."""
    apply(daemon, SERVICE, wait=False)
    names = ["web-0", "web-1"]
    for name in names:
        until(lambda name=name: instance(daemon, name)["phase"] == "starting", COMES_S, what=f"{name} to start")
    return names


def become_good(lab: Lab, name: str) -> None:
    """What the role waits for is there, until the guest's next boot."""
    lab.guest(f"{name}.shop", ["/bin/sh", "-c", ": > /run/good"])


def serve(lab: Lab, daemon: RoleDaemon, name: str) -> dict[str, Any]:
    """The instance once it serves, in whatever boot."""
    until(lambda: instance(daemon, name)["phase"] in ("starting", "serving"), COMES_S, what=f"{name} to start")
    become_good(lab, name)
    until(lambda: instance(daemon, name)["phase"] == "serving", COMES_S, what=f"{name} to serve")
    return instance(daemon, name)


def written(lab: Lab, name: str) -> str:
    """What the guest has written to its local storage in all its boots."""
    return lab.guest(f"{name}.shop", ["/bin/cat", "/local/cache/log"])


def assert_whole(lab: Lab, name: str, boots: int) -> None:
    """Each boot's writing but the running one's is there to its last line, and no journal had to be replayed."""
    assert re.fullmatch(rf"(begin\n(line\n)*end\n){{{boots - 1}}}begin\n(line\n)*", written(lab, name))
    assert "recover" not in lab.guest(f"{name}.shop", ["/bin/sh", "-c", "dmesg | grep EXT4 || true"])


def answers(lab: Lab) -> bool:
    """Whether anything answers at the VIP."""
    asked = ["curl", "--silent", "--fail", "--max-time", "20", URL]
    return lab.client.run(asked, check=False).returncode == 0


@pytest.mark.timeout(5400)
def test_a_frozen_guest_neither_serves_nor_goes_down_before_its_thaw(lab: Lab, ready: RoleDaemon) -> None:
    """Frozen while it starts, it does not serve, even for a daemon that has never heard it, and is asked on after the
    thaw. Frozen while a restart and a stop are asked for, it is waited for, longer than it may take to stop; both are
    done after the thaw, and nothing of what it was writing is lost.
    """
    names = starting(ready)
    for name in names:
        lab.virsh("domfsfreeze", f"{name}.shop")
    ready.kill()
    ready.start()
    for name in names:
        until(lambda name=name: FROZEN in instance(ready, name)["waiting"], COMES_S, what=f"{name}'s freeze")
    end_s = time.monotonic() + HELD_S
    while time.monotonic() < end_s:
        assert {instance(ready, name)["phase"] for name in names} == {"starting"}
        assert not answers(lab)
    for name in names:
        lab.virsh("domfsthaw", f"{name}.shop")
    until(lambda: not any(FROZEN in instance(ready, name)["waiting"] for name in names), COMES_S, what="the thaw")
    assert {instance(ready, name)["phase"] for name in names} == {"starting"}
    before = {name: serve(lab, ready, name) for name in names}
    assert answers(lab)

    for name in names:
        lab.virsh("domfsfreeze", f"{name}.shop")
    ready.run("restart", "web-0")
    ready.run("stop", "web-1")
    for name, phase in zip(names, ("restarting", "halting"), strict=True):
        until(
            lambda name=name, phase=phase: instance(ready, name)["phase"] == phase,
            COMES_S,
            what=f"{name} to be {phase}",
        )
        until(lambda name=name: FROZEN in instance(ready, name)["waiting"], COMES_S, what=f"{name}'s freeze")
        assert f"virsh domfsthaw {name}.shop" in ready.run("why", name).stdout
    end_s = time.monotonic() + 1.5 * STOP_WITHIN_S
    while time.monotonic() < end_s:
        time.sleep(5.0)
        assert [instance(ready, name)["phase"] for name in names] == ["restarting", "halting"]
        assert {lab.virsh("domstate", f"{name}.shop").strip() for name in names} == {"running"}
    for name in names:
        lab.virsh("domfsthaw", f"{name}.shop")
    until(lambda: instance(ready, "web-1")["phase"] == "stopped", COMES_S, what="web-1 to be stopped")
    serve(lab, ready, "web-0")
    ready.run("start", "web-1")
    serve(lab, ready, "web-1")
    for name in names:
        now = instance(ready, name)
        assert (now["boot"], now["vm_uuid"]) == (before[name]["boot"] + 1, before[name]["vm_uuid"])
        assert (now["warning"], now["failure"]) == ("", "")
        assert_whole(lab, name, 2)
    assert answers(lab)
    ready.run("delete", "service", "shop", "--wait")


@pytest.mark.timeout(5400)
def test_a_guest_that_nobody_thaws_is_ended_when_no_backup_lasts_longer(lab: Lab, ready: RoleDaemon) -> None:
    """Not before, with a word, and what it had written before the freeze is there in the boots after it; one that is
    deleted while it is frozen goes, too.
    """
    names = starting(ready)
    before = {name: serve(lab, ready, name) for name in names}
    for name in names:
        lab.guest(f"{name}.shop", ["/bin/sh", "-c", "echo kept > /local/cache/kept; sync"])
        lab.virsh("domfsfreeze", f"{name}.shop")
    asked_s = time.monotonic()
    ready.run("restart", "web-0")
    ready.run("stop", "web-1")
    for name in names:
        until(
            lambda name=name: instance(ready, name)["warning"],
            THAW_WITHIN_S + STOP_WITHIN_S + COMES_S,
            what=f"{name} to be ended",
        )
        assert time.monotonic() - asked_s >= THAW_WITHIN_S + STOP_WITHIN_S
        warning = instance(ready, name)["warning"]
        assert "a backup had frozen its file systems" in warning
        assert warning in ready.run("events", f"{name}.shop").stdout
    until(lambda: instance(ready, "web-1")["phase"] == "stopped", COMES_S, what="web-1 to be stopped")
    ready.run("start", "web-1")
    for name in names:
        now = serve(lab, ready, name)
        assert (now["generation"], now["boot"], now["vm_uuid"]) == (
            before[name]["generation"],
            before[name]["boot"] + 1,
            before[name]["vm_uuid"],
        )
        assert lab.guest(f"{name}.shop", ["/bin/cat", "/local/cache/kept"]).strip() == "kept"
    assert answers(lab)

    lab.virsh("domfsfreeze", "web-1.shop")
    done = ready.run("delete", "service", "shop", "--wait", "--timeout", "90m", timeout_s=5400.0)
    assert "warning: web-1.shop: " in done.stderr
    assert lab.virsh("list", "--all", "--name").strip() == ""
