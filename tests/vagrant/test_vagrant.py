"""The lab of vagrant/, from nothing: `make test-vagrant`. Ten minutes with KVM, half an hour without."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drivers.hypervisor.accelerator import choose
from orchestrator.drivers.hypervisor.domain_xml import Accelerator
from tests.lab.harness.lab import Lab
from tests.world.places import REPOSITORY
from tests.world.waiting import comes_true

VAGRANT = REPOSITORY / "vagrant"
VIP_URL = "http://192.168.56.130/"
FIRST = "web-0.shop"
UP_S = 3600.0
COMMAND_S = 1800.0
BACK_S = 1200.0  # a host that boots, its daemon, and the guest that it starts, all of it emulated
pytestmark = pytest.mark.timeout(2 * UP_S)
# What VirtualBox's command says where it is installed: enough for Vagrant to look at the part that is about it.
_VBOXMANAGE = "#!/bin/sh\n[ \"$1\" = --version ] && echo 7.0.20r163906 || echo 'VirtualBox VM 7.0.20'\n"


class Vagrant:
    """The command, with a home of its own in the lab: nothing of what the user has is seen or changed."""

    def __init__(self, lab: Lab, driver: str) -> None:
        self.lab = lab
        self.emulated = driver == "qemu"
        self.environment = {
            **os.environ,
            "VAGRANT_HOME": str(lab.root / "vagrant"),
            "VAGRANT_DOTFILE_PATH": str(lab.root / "machines"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "HOSTS": "3",
            "INSTANCES": "1",
            "DRIVER": driver,
        }

    def shown(self, *arguments: str, within_s: float = COMMAND_S) -> None:
        """Runs it with its output where the test's goes; it must exit 0."""
        print(f"\n$ vagrant {' '.join(arguments)}", flush=True)
        subprocess.run(
            ["vagrant", *arguments],
            cwd=VAGRANT,
            env=self.environment,
            timeout=within_s,
            check=True,
            stdin=subprocess.DEVNULL,
        )

    def in_host(self, host: str, command: str) -> str:
        """What a command prints that the user `vagrant` types in a host; it must exit 0."""
        print(f"\n{host}$ {command}", flush=True)
        done = subprocess.run(
            ["vagrant", "ssh", host, "--no-tty", "-c", command],
            cwd=VAGRANT,
            env=self.environment,
            timeout=COMMAND_S,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        print(done.stdout + done.stderr, flush=True)
        assert done.returncode == 0, f"{command}: exit {done.returncode}"
        return done.stdout

    def answer(self) -> dict[str, Any]:
        """What the service answers whoever asks its virtual address on this side; empty when it does not."""
        done = self.lab.host.run(["curl", "-s", "-S", "-f", "-m", "20", VIP_URL], check=False)
        print(f"\n$ curl {VIP_URL}\n{done.stdout}{done.stderr}", flush=True)
        answer: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return answer


@pytest.fixture(scope="module")
def vagrant() -> Iterator[Vagrant]:
    """The command in a lab; whether hosts are virtualized or emulated is found out by booting guests."""
    with Lab() as lab:
        choice = choose("auto", lab.root / "choice")
        print(f"\nhosts of the lab: {choice.because}", flush=True)
        yield Vagrant(lab, "kvm" if choice.accelerator is Accelerator.KVM else "qemu")


@pytest.fixture(scope="module")
def host(vagrant: Vagrant) -> Iterator[Vagrant]:
    """The first host, up and provisioned."""
    try:
        vagrant.shown("up", "host0", "--no-tty", "--no-color", within_s=UP_S)
        yield vagrant
    finally:
        vagrant.shown("destroy", "--force", "--no-tty")
    assert vagrant.lab.virsh("list", "--all", "--name").split() == []


def test_the_file_is_valid_for_libvirt(vagrant: Vagrant) -> None:
    """With the provider's own look at its settings."""
    vagrant.shown("validate")


def test_the_file_is_valid_for_virtualbox(vagrant: Vagrant, tmp_path: Path) -> None:
    """As far as that can be told where VirtualBox is not."""
    stand_in = tmp_path / "VBoxManage"
    stand_in.write_text(_VBOXMANAGE)
    stand_in.chmod(0o755)
    other = Vagrant(vagrant.lab, "kvm")
    other.environment |= {
        "VAGRANT_DEFAULT_PROVIDER": "virtualbox",
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "machines"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    other.shown("validate")


def test_its_service_answers_outside(host: Vagrant) -> None:
    """The virtual address is reached from the machine that Vagrant runs on."""
    answer = host.answer()
    assert (answer["instance"], answer["generation"]) == (FIRST, 1)


def test_its_guests_run_in_nested_kvm(host: Vagrant) -> None:
    """The daemon has booted guests to know; in an emulated host they may take longer than it waits for them."""
    host.in_host("host0", "test -c /dev/kvm")
    log = host.in_host("host0", "sudo journalctl --no-pager -o cat -u vmrole")
    (chosen,) = re.findall(r"^guests run on (\w+)", log, re.MULTILINE)
    assert chosen == "kvm" or host.emulated
    assert host.in_host("host0", "systemctl is-active vmrole libvirtd").split() == ["active", "active"]


def test_provisioning_again_changes_nothing(host: Vagrant) -> None:
    """The same boot of the same generation serves."""
    before = host.answer()
    host.shown("provision", "host0", "--no-tty", "--no-color")
    assert host.answer() == before


def test_its_user_needs_no_sudo(host: Vagrant) -> None:
    """`vagrant ssh` and a reimage; the next generation answers outside."""
    host.in_host("host0", f"vmrole reimage {FIRST} --wait")
    assert host.answer()["generation"] == 2


def test_guests_come_back_with_their_host(host: Vagrant) -> None:
    """After `vagrant reload` the service is as recorded: another boot of the same generation."""
    before = host.answer()
    host.shown("reload", "host0", "--no-tty", "--no-color")
    assert comes_true(lambda: bool(host.answer()), BACK_S, look_s=10.0)
    after = host.answer()
    assert after["boot"] != before["boot"]
    assert after["generation"] == before["generation"]


def test_three_hosts_are_on_one_network(host: Vagrant) -> None:
    """Each has a daemon and virtual addresses of its own, and reaches the others."""
    host.shown("up", "host1", "host2", "--no-parallel", "--no-tty", "--no-color", within_s=UP_S)
    pools = set()
    for name in ("host1", "host2"):
        assert host.in_host(name, "vmrole get services -o name") == ""
        pools |= set(re.findall(r"192\.168\.56\.\d+/28", host.in_host(name, "vmrole config show")))
    assert pools == {"192.168.56.144/28", "192.168.56.160/28"}
    host.in_host("host1", "ping -c 1 -W 20 192.168.56.11 && ping -c 1 -W 20 192.168.56.13")
    seen = json.loads(host.in_host("host2", f"curl -s -S -f -m 20 {VIP_URL}"))
    assert seen["instance"] == FIRST
