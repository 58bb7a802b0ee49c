"""CPUs shared by weight: a libvirt that has control groups, and what the kernel then keeps of a VM that runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import host_limits
from orchestrator.drivers.hypervisor.domain_limits import SHARES_LEAST, WEIGHT_PER_VCPU
from orchestrator.model import Instance, Limits
from tests.contract.suites.stage import make_instance
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage

LEFT_ALONE = "cgroup_controllers = []"
PERIOD_US = 100_000


@dataclasses.dataclass(frozen=True, slots=True)
class Groups:
    """Control groups of CPUs for libvirt: a subtree of the kernel's that is this lab's alone."""

    root: Path
    unified: bool  # cgroup2; else the older hierarchy of its own for CPUs

    def kept(self, instance: Instance) -> tuple[int, int | None]:
        """What the kernel keeps for the VM: its weight, and the quota of each vCPU in a period (None: no limit)."""
        (group,) = (each for each in self.root.rglob("*") if each.is_dir() and is_of(instance, each.name))
        if self.unified:
            quota, _, period = (group / "vcpu0" / "cpu.max").read_text().partition(" ")
            weight = int((group / "cpu.weight").read_text())
        else:
            quota, period = ((group / "vcpu0" / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
            weight = int((group / "cpu.shares").read_text())
        unlimited = quota.strip() in ("max", "-1")
        assert unlimited or int(period) == PERIOD_US
        return weight, None if unlimited else int(quota)


def is_of(instance: Instance, name: str) -> bool:
    """How libvirt calls a VM's group where no systemd makes scopes."""
    return re.fullmatch(rf"qemu-[0-9]+-{re.escape(instance.name)}\.libvirt-qemu", name) is not None


@contextlib.contextmanager
def groups_of(lab: Lab) -> Iterator[Groups]:
    """In the lab's /sys/fs/cgroup, as libvirt looks for them; they go when no VM is in them any more."""
    place = host_limits.CGROUPS
    unified = "cpu" not in older_controllers()
    name = f"vmrole-{lab.root.name}"
    with contextlib.ExitStack() as undo:
        whole = lab.root / "cgroup"
        whole.mkdir()
        undo.callback(whole.rmdir)
        kind, options = ("cgroup2", []) if unified else ("cgroup", ["-o", "cpu"])
        lab.host.run(["mount", "-t", kind, *options, kind, str(whole)])
        undo.callback(lab.host.run, ["umount", "-l", str(whole)])
        own = whole / name
        own.mkdir()
        undo.callback(remove, own)
        if unified:
            for group in (whole, own):  # It is given on from one to the next below.
                (group / "cgroup.subtree_control").write_text("+cpu")
        else:
            lab.host.run(["mount", "-t", "tmpfs", "tmpfs", str(place)])
            undo.callback(lab.host.run, ["umount", "-l", str(place)])
            place = place / "cpu"
            place.mkdir()
        lab.host.run(["mount", "--bind", str(own), str(place)])
        undo.callback(lab.host.run, ["umount", "-l", str(place)])
        yield Groups(own, unified)


def older_controllers() -> set[str]:
    """Controllers that have a hierarchy of their own, which keeps them from cgroup2; cgroups(7)."""
    lines = (line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:])
    return {name for name, hierarchy, *_ in lines if hierarchy != "0"}


def remove(group: Path) -> None:
    """The group and those below it; each has to be empty of processes."""
    for below, _, _ in os.walk(group, topdown=False):
        Path(below).rmdir()


@pytest.fixture
def groups(lab: Lab) -> Iterator[Groups]:
    """A libvirtd that has been told to use them, and has been started since."""
    conf = host_limits.QEMU_CONF
    before = conf.read_text()
    assert LEFT_ALONE in before
    assert host_limits.cpu_fault() != ""
    with groups_of(lab) as groups:
        try:
            conf.write_text(before.replace(LEFT_ALONE, 'cgroup_controllers = [ "cpu" ]'))
            lab.kill_libvirtd()
            lab.start_libvirtd()
            yield groups
        finally:
            for name in lab.virsh("list", "--name").split():
                lab.virsh("destroy", name)
            conf.write_text(before)
            lab.kill_libvirtd()
            lab.start_libvirtd()


@pytest.fixture
def stage(groups: Groups, lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """A stage on that libvirtd."""
    assert host_limits.cpu_fault() == ""
    with real_stage(lab, micro_image, shares_cpus=True) as stage:
        yield stage


def test_the_kernel_keeps_what_the_role_says(stage: RealStage, groups: Groups) -> None:
    """Weight and limit of a VM's CPUs are in its control group from its start, and others are while it runs."""
    instance = limited(make_instance(stage), Limits(cpu_weight=300, cpu_limit_percent=50))
    stage.lay(instance)
    stage.hypervisor.start(instance)
    assert groups.kept(instance) == (300, PERIOD_US // 2)
    seen = stage.hypervisor.look(instance.name)
    for limits, kept in (
        (Limits(cpu_weight=20, cpu_limit_percent=10), (20, PERIOD_US // 10)),
        (Limits(), (WEIGHT_PER_VCPU, None)),
        (Limits(cpu_weight=1, cpu_limit_percent=1), (SHARES_LEAST, PERIOD_US // 100)),
        (Limits(cpu_weight=10_000, cpu_limit_percent=100), (10_000, PERIOD_US)),
    ):
        stage.hypervisor.limit(limited(instance, limits))
        assert groups.kept(instance) == kept
        assert stage.hypervisor.look(instance.name) == seen


@pytest.mark.parametrize("limits", [Limits(), Limits(cpu_weight=1, cpu_limit_percent=1), Limits(cpu_weight=10_000)])
def test_a_vm_starts_with_every_weight_that_a_file_may_say(stage: RealStage, groups: Groups, limits: Limits) -> None:
    """The least and the most that a service file takes is what the kernel takes."""
    instance = limited(make_instance(stage), limits)
    stage.lay(instance)
    stage.hypervisor.start(instance)
    weight, quota = groups.kept(instance)
    assert weight == max(limits.cpu_weight or WEIGHT_PER_VCPU, SHARES_LEAST)
    assert quota == (None if limits.cpu_limit_percent is None else PERIOD_US * limits.cpu_limit_percent // 100)


def limited(instance: Instance, limits: Limits) -> Instance:
    """The instance with these limits in its role."""
    return dataclasses.replace(instance, role=dataclasses.replace(instance.role, limits=limits))
