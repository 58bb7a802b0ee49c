"""A Debian as others build theirs: cloud-init finds the answer disc by itself, and installs the agent it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.edited_disk import edited
from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.long import debian_disks
from tests.lab.services import URL, apply, instance, until


@pytest.fixture
def stock_image(debian_image: Path, tmp_path: Path) -> Path:
    """With the data sources that Debian lists, the drivers of the root disk alone in its initramfs, and no agent."""
    with edited(debian_image, tmp_path, "stock") as (disk, made):
        debian_disks.look_for(disk, debian_disks.STOCK_SOURCES)
        debian_disks.take_agent_out(disk)
    return made


@pytest.fixture
def deaf_image(debian_image: Path, tmp_path: Path) -> Path:
    """Whose cloud-init looks where no answers are."""
    with edited(debian_image, tmp_path, "deaf") as (disk, made):
        debian_disks.look_for(disk, ("ConfigDrive", "OpenNebula"))
    return made


@pytest.mark.timeout(3600)  # Two starts of a whole Debian, and dpkg in the first.
def test_cloud_init_finds_the_disc_and_installs_the_agent(lab: Lab, daemon: RoleDaemon, stock_image: Path) -> None:
    """From the guest's one archive; set up, restarted and serving as a guest that had it from the beginning."""
    daemon.run("image", "add", str(stock_image), "--name", "debian")
    apply(daemon, SERVICE.replace("    answers:\n", "    answers:\n      installAgent: true\n"))
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (1, 2)
    answers.distinct(lab.client, URL, 1, 20.0)
    shown = f"dpkg-query -W -f '${{Status}}' {debian_disks.AGENT}"
    assert lab.guest("web-0.shop", ["/bin/sh", "-c", shown], 60.0) == "install ok installed"
    daemon.run("delete", "service", "shop", "--wait")


@pytest.mark.timeout(1800)
def test_a_cloud_init_that_switched_itself_off_is_told(daemon: RoleDaemon, deaf_image: Path) -> None:
    """In its first boot, with what helps, long before its time is over."""
    daemon.run("image", "add", str(deaf_image), "--name", "debian")
    apply(daemon, SERVICE, wait=False)
    until("what cloud-init did", lambda: "found no data source" in instance(daemon)["waiting"], 1200.0)
    assert "datasource_list: [NoCloud, None]" in daemon.run("why", "web-0.shop").stdout
    daemon.run("delete", "service", "shop", "--wait")
