"""Trouble of a guest on real virtual machines: each kind is told by its name, and healed where that helps.

The ledger of each life is printed with its times (`pytest -rP`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, VIP, apply, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

COMES_S = 1200.0  # The machine may be shared; healing waits for 5 min where something fails that may pass.
WEB = "web-0.shop"
SH = ["/bin/sh", "-c"]
SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz, interval: 1 s, rise: 2, fall: 2}}}}
    setup: {{within: 15 min}}
    ready: {{watch: true, command: [/bin/test, -e, /run/good], within: 15 min}}
    restart: {{within: 15 min}}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        printf '#!/bin/sh\\n: > /run/good\\n' > /etc/vmrole/start.d/good
        chmod 755 /etc/vmrole/start.d/good
"""
pytestmark = pytest.mark.timeout(4 * COMES_S)


@pytest.fixture
def serving(ready: RoleDaemon) -> Iterator[RoleDaemon]:
    """A daemon with an instance that serves."""
    apply(ready, SERVICE)
    yield ready
    print(ready.run("events", "shop").stdout)


def at(daemon: RoleDaemon) -> tuple[int, int]:
    """Which boot of which generation it is in."""
    one = instance(daemon)
    return one["generation"], one["boot"]


def is_told(daemon: RoleDaemon, words: str) -> None:
    """Waits until the ledger says so."""
    until(lambda: words in daemon.run("events", "shop").stdout, COMES_S, what=f"the ledger to say: {words}")


def answers(lab: Lab) -> bool:
    """Whether a client has an answer of the service."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", URL]
    return lab.client.run(argv, check=False).stdout.strip() == "200"


def comes_back(lab: Lab, daemon: RoleDaemon, before: tuple[int, int]) -> None:
    """Waits until it serves in a later boot, and answers."""
    until(lambda: at(daemon) > before and instance(daemon)["phase"] == "serving", COMES_S, what="healing")
    until(lambda: answers(lab), COMES_S, what="an answer")


def behind(lab: Lab, script: str) -> None:
    """Has a script run in the guest when its agent has said that it began."""
    lab.guest(WEB, [*SH, f"(sleep 2; {script}) >/dev/null 2>&1 </dev/null &"], 60.0)


@pytest.mark.parametrize("kind", ["qemu gone", "kernel panic"])
def test_a_vm_that_dies_is_started_again(lab: Lab, serving: RoleDaemon, kind: str) -> None:
    """At once, and the ledger says what has ended it."""
    before: tuple[int, int] = at(serving)
    if kind == "qemu gone":
        os.kill(int(Path(f"/run/libvirt/qemu/{WEB}.pid").read_text()), signal.SIGKILL)
        is_told(serving, "its QEMU ended unexpectedly")
    else:
        behind(lab, "echo c > /proc/sysrq-trigger")
        is_told(serving, "the guest's kernel panicked")
    comes_back(lab, serving, before)
