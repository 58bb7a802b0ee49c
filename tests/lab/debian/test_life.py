"""The debian image through the whole product: the real cloud-init and systemd, from deployment to deletion."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, apply, instance


@pytest.mark.timeout(3000)  # Two starts of a whole Debian, each a minute of both cores without KVM.
def test_cloud_init_through_setup_restart_services_and_delete(
    lab: Lab, daemon: RoleDaemon, debian_image: Path
) -> None:
    """Setup by cloud-init, its restart, services, rotation; what is written to a drive stays in it.

    That a later boot runs no setup again is `test_answers`'s, and what a reimage keeps `long/test_debian_reimage`'s.
    """
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    daemon.run("drive", "create", "orders-0", "--size", "32 MiB")
    drives = '    drives: {data: {drive: "orders-{index}", mount: /srv/data}}\n'
    apply(daemon, SERVICE.replace("    setup:", f"{drives}    setup:"))
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (1, 2)
    answers.distinct(lab.client, URL, 1, 20.0)
    sh = ["/bin/sh", "-c"]
    once = lab.guest("web-0.shop", [*sh, "hostname; wc -l < /var/lib/ran-once; systemctl is-system-running"])
    assert once.split() == ["web-0", "1", "running"]
    assert not list(daemon.run_dir.glob("discs/*/*.iso")), "the answer disc outlived its setup"
    lab.guest("web-0.shop", [*sh, "mountpoint /local/data && echo kept > /srv/data/orders && sync"])
    daemon.run("delete", "service", "shop", "--wait")
    disk = daemon.state / "lib" / "drives" / "orders-0" / "disk.raw"
    kept = subprocess.run(["debugfs", "-R", "cat /orders", str(disk)], capture_output=True, text=True, check=True)
    assert kept.stdout == "kept\n"
    daemon.run("image", "verify", "debian")
