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
    endpoints: {{http: {{port: 80, target: 8080}}}}
    setup: {{within: 20 min}}
    ready: {{{ready}within: 20 min}}
    answers:
      userData: |
        #cloud-config
        write_files:
          - path: /etc/systemd/system/page.service
            content: |
              [Unit]
              After=network.target
              [Service]
              ExecStart=/usr/bin/python3 -m http.server 8080 --directory /srv
              [Install]
              WantedBy=multi-user.target
{files}
        runcmd:
          - [systemctl, enable, page.service{units}]
"""
SLOW_UNIT = """          - path: /etc/systemd/system/slow.service
            content: |
              [Service]
              Type=oneshot
              ExecStart=/bin/sleep 45
              [Install]
              WantedBy=multi-user.target
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


def serves(daemon: RoleDaemon) -> None:
    """Waits until it does; says what it waits for when it does not."""
    try:
        until("rotation", lambda: bool(instance(daemon)["phase"] == "serving"), 1500.0)
    except AssertionError as late:
        raise AssertionError(daemon.run("why", "web-0").stdout + daemon.run("events", "shop").stdout) from late


@pytest.mark.timeout(2400)
def test_a_backup_of_a_starting_guest_brings_no_traffic_to_it(
    lab: Lab, daemon: RoleDaemon, debian_image: Path
) -> None:
    """A guest that is frozen while its services start is not ready, frozen or thawed, before they have started."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE.format(vip=VIP, ready="", files=SLOW_UNIT, units=", slow.service"), wait=False)
    serves(daemon)
    daemon.run("restart", "web-0")
    until("a frozen guest", lambda: virsh("domfsfreeze", "web-0.shop"), 600.0)
    assert instance(daemon)["phase"] in ("starting", "restarting")
    until("the freeze to be told", lambda: "frozen" in instance(daemon)["waiting"], 120.0)
    for _ in range(20):
        daemon.run("why", "web-0")
        assert instance(daemon)["phase"] in ("starting", "restarting")
    assert virsh("domfsthaw", "web-0.shop")
    serves(daemon)
    words = ["/bin/systemctl", "is-active", "slow.service", "multi-user.target"]
    assert lab.guest("web-0.shop", words).split() == ["inactive", "active"], "a oneshot unit that has ended"
    assert (instance(daemon)["generation"], instance(daemon)["phase"]) == (1, "serving")


@pytest.mark.timeout(2400)
def test_a_confined_agent_serves_and_says_what_confines_it(daemon: RoleDaemon, debian_image: Path) -> None:
    """An agent that may read neither our files nor ask systemd: the monitor tells of the restart, the probe decides,
    and the ledger names the remedy.
    """
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE.format(vip=VIP, ready="probe: {port: 8080}, ", files=CONFINED, units=""), wait=False)
    serves(daemon)
    assert (instance(daemon)["generation"], instance(daemon)["phase"]) == (1, "serving")
    assert "InaccessiblePaths" in daemon.run("events", "shop").stdout
