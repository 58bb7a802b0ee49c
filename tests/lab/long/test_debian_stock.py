"""Debians as others build theirs: cloud-init finds the answer disc by itself, and installs the agent it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.edited_disk import edited
from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.long import debian_disks
from tests.lab.services import URL, apply, instance, mark, markers
from tests.world.waiting import until

_SET_UP_S = 7200.0  # where others use the same two cores


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


@pytest.mark.timeout(10800)  # Five starts of a whole Debian, and dpkg in two of them.
def test_an_installed_agent_and_kept_host_keys_live_on(lab: Lab, daemon: RoleDaemon, stock_image: Path) -> None:
    """cloud-init finds its disc and installs the agent from the guest's one archive; a restart keeps all of it, and a
    reimage does it again. What SSH knows the guest by stays what the host keeps for the instance.
    """
    daemon.run("image", "add", str(stock_image), "--name", "debian")
    daemon.run("apply", "-f", "-", "--wait", text=_patient_service(), timeout_s=_SET_UP_S)
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (1, 2)
    answers.distinct(lab.client, URL, 1, 20.0)
    _assert_agent_installed(lab)
    kept = host_keys(lab, daemon)
    assert kept == _kept_on_the_host(daemon)
    mark(lab, "web-0.shop")

    daemon.run("restart", "web-0", "--wait", timeout_s=_SET_UP_S)
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (1, 3)
    assert markers(lab, "web-0.shop").split() == ["kept", "kept"]
    assert host_keys(lab, daemon) == kept

    daemon.run("reimage", "web-0", "--wait", timeout_s=_SET_UP_S)
    assert (instance(daemon)["generation"], instance(daemon)["boot"]) == (2, 2)
    assert markers(lab, "web-0.shop").split() == ["gone", "kept"]
    _assert_agent_installed(lab)
    assert host_keys(lab, daemon) == kept
    daemon.run("delete", "service", "shop", "--wait")
    assert not _identity(daemon).exists()


def host_keys(lab: Lab, daemon: RoleDaemon) -> frozenset[str]:
    """The public keys by which the guest's SSH server is known, one of each kind, as a client gets them."""
    argv = ["ssh-keyscan", "-T", "60", "-t", "ed25519,ecdsa,rsa", instance(daemon)["address"]]
    lines = [line.split() for line in lab.host.run(argv, timeout_s=300.0).stdout.splitlines()]
    assert {kind for _, kind, _ in lines} == {"ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"}
    return frozenset(key for _, _, key in lines)


def _kept_on_the_host(daemon: RoleDaemon) -> frozenset[str]:
    """The public halves of what the instance has for all its generations."""
    return frozenset(file.read_text().split()[1] for file in _identity(daemon).glob("*.pub"))


def _identity(daemon: RoleDaemon) -> Path:
    return daemon.state / "lib" / "identity" / "web-0.shop"


def _patient_service() -> str:
    """It needs the agent that the image lacks, and keeps its SSH host keys; the machine may be shared."""
    text = SERVICE.replace("    answers:\n", "    answers:\n      installAgent: true\n")
    text = text.replace("within: 30 min", "within: 60 min").replace("within: 20 min", "within: 60 min")
    more = "stop: {within: 10 min}\n    restart: {within: 40 min}\n    identity: {sshHostKeys: keep}\n"
    return text.replace("    setup:", f"    {more}    setup:")


def _assert_agent_installed(lab: Lab) -> None:
    """By dpkg, as a package of the distribution."""
    shown = f"dpkg-query -W -f '${{Status}}' {debian_disks.AGENT}"
    assert lab.guest("web-0.shop", ["/bin/sh", "-c", shown]) == "install ok installed"


@pytest.mark.timeout(1800)
def test_a_cloud_init_that_switched_itself_off_is_told(daemon: RoleDaemon, deaf_image: Path) -> None:
    """In its first boot, with what helps, long before its time is over."""
    daemon.run("image", "add", str(deaf_image), "--name", "debian")
    apply(daemon, SERVICE, wait=False)
    until(lambda: "found no data source" in instance(daemon)["waiting"], 1200.0, what="what cloud-init did")
    assert "datasource_list: [NoCloud, None]" in daemon.run("why", "web-0.shop").stdout
    daemon.run("delete", "service", "shop", "--wait")
