"""Agents in a real Debian that may not tell what they are asked for: frozen by a backup, confined by their unit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.harness import places
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.test_life import VIP, apply, instance, until

SERVICE = """service: shop
vip: {vip}
roles:
  web:
    image: debian
    instances: 1
    size: {{vcpus: 2, memory: 512 MiB}}
    endpoints: {{ssh: {{port: 22, target: 22}}}}
    setup: {{within: 20 min}}
    ready: {{{ready}within: 20 min}}
    answers:
      userData: |
        #cloud-config
        write_files:
{files}
"""
SLOW_UNIT = """          - path: /etc/systemd/system/slow.service
            content: |
              [Service]
              Type=oneshot
              ExecStart=/bin/sleep 45
              [Install]
              WantedBy=multi-user.target
        runcmd:
          - [systemctl, enable, slow.service]
"""
CONFINED = """          - path: /etc/systemd/system/qemu-guest-agent.service.d/confined.conf
            content: |
              [Service]
              InaccessiblePaths=/var/lib/vmrole -/etc/vmrole /run/dbus /run/systemd/private
"""


def virsh(*arguments: str) -> bool:
    """Whether virsh did it."""
    done: subprocess.CompletedProcess[str] = places.HOST.run(
        ["virsh", "-c", places.LIBVIRT_URI, *arguments], check=False
    )
    return done.returncode == 0


@pytest.mark.timeout(2400)
def test_a_backup_of_a_starting_guest_brings_no_traffic_to_it(
    lab: Lab, daemon: RoleDaemon, debian_image: Path
) -> None:
    """A guest that is frozen while its services start is not ready, frozen or thawed, before they have started."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE.format(vip=VIP, ready="", files=SLOW_UNIT))
    daemon.run("restart", "web-0")
    until("a frozen guest", lambda: virsh("domfsfreeze", "web-0.shop"), 600.0)
    assert instance(daemon)["phase"] in ("starting", "restarting")
    until("the freeze to be told", lambda: "frozen" in instance(daemon)["waiting"], 120.0)
    for _ in range(20):
        daemon.run("why", "web-0")
        assert instance(daemon)["phase"] in ("starting", "restarting")
    assert virsh("domfsthaw", "web-0.shop")
    daemon.run("wait", "shop", timeout_s=900.0)
    words = ["/bin/systemctl", "is-active", "slow.service", "multi-user.target"]
    assert lab.guest("web-0.shop", words).split() == ["inactive", "active"], "a oneshot unit that has ended"
    assert (instance(daemon)["generation"], instance(daemon)["phase"]) == (1, "serving")


@pytest.mark.timeout(2400)
def test_a_confined_agent_serves_and_says_what_confines_it(daemon: RoleDaemon, debian_image: Path) -> None:
    """An agent that may read neither our files nor ask systemd: the monitor tells of the restart, the probe decides,
    and the ledger names the remedy.
    """
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE.format(vip=VIP, ready="probe: {port: 22}, ", files=CONFINED))
    assert (instance(daemon)["generation"], instance(daemon)["phase"]) == (1, "serving")
    assert "InaccessiblePaths" in daemon.run("events", "shop").stdout
