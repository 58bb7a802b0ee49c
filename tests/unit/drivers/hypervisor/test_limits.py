"""What an instance may take of what all share: the words of the file, what another does, what a host can keep."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orchestrator import servicefile
from orchestrator.drivers.hypervisor import domain_limits, host_limits
from orchestrator.drivers.hypervisor.domain_xml import Accelerator, MachineType
from orchestrator.errors import InvalidInput
from orchestrator.host.config import Config
from orchestrator.host.doctor import programs
from orchestrator.host.doctor.check import Verdict
from orchestrator.model import DiskBus, Hardware, Image, Limits, ServiceSpec, Size
from orchestrator.servicefile.difference import difference
from tests.world.fabric import Fabric, web_role
from tests.world.images import MICRO

EVERY = "cpuWeight: 50, cpuLimit: 40 %, diskRate: 30 MiB/s, diskOperations: 200, networkRate: 1 GiB/s"


def parsed(size: str, image: Image = MICRO) -> ServiceSpec:
    """The service file with that size."""
    text = f"service: shop\nroles:\n  web:\n    image: micro\n    size: {{{size}}}\n"
    return servicefile.parse(text, lambda _: image)


def test_every_limit_can_be_said() -> None:
    """In the units of the file; what is not said is None."""
    assert parsed(EVERY).roles[0].limits == Limits(
        cpu_weight=50,
        cpu_limit_percent=40,
        disk_rate_mib_per_s=30,
        disk_operations=200,
        network_rate_mib_per_s=1024,
    )
    assert parsed("vcpus: 2").roles[0].limits == Limits()
    assert parsed("vcpus: 2, " + EVERY).roles[0].size == Size(vcpus=2)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("cpuWeight: 0", "1 to 10000"),
        ("cpuLimit: 40", "1 % to 100 %"),
        ("cpuLimit: 101 %", "1 % to 100 %"),
        ("cpuLimit: 0 %", "1 % to 100 %"),
        ("diskRate: 30 MiB", "100 MiB/s"),
        ("diskRate: 30 MB/s", "MiB"),
        ("diskRate: 30 MiB/min", "100 MiB/s"),
        ("diskRate: 0 MiB/s", "1 MiB"),
        ("networkRate: 5", "100 MiB/s"),
        ("diskOperations: 200/s", "10 to"),
        ("diskRates: 30 MiB/s", "did you mean diskRate?"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(wrong: str, hint: str) -> None:
    """With the line, and what would be right."""
    with pytest.raises(InvalidInput) as caught:
        parsed(wrong)
    (problem,) = caught.value.problems
    assert problem.key == f"roles.web.size.{wrong.partition(':')[0]}"
    assert problem.line == 5
    assert hint in problem.hint


def test_what_qemu_cannot_throttle_is_not_promised() -> None:
    """An NVMe drive has no limits, so a file that asks for one is told."""
    on_nvme = dataclasses.replace(MICRO, hardware=Hardware(disk_bus=DiskBus.NVME))
    assert parsed("cpuWeight: 50", on_nvme).roles[0].limits.cpu_weight == 50
    for key in ("diskRate: 30 MiB/s", "diskOperations: 200"):
        with pytest.raises(InvalidInput, match="1 fault"):
            parsed(key, on_nvme)


def test_another_limit_is_told_and_needs_no_restart() -> None:
    """In the words of the file; the size beside it stays a reimage."""
    changes = difference(parsed("vcpus: 1"), parsed(f"vcpus: 2, {EVERY}"))
    told = {change.key.removeprefix("roles.web.size."): (change.after, change.effect) for change in changes}
    at_once = "holds at once; no restart"
    assert told == {
        "vcpus": ("2", "rolling reimage, one instance at a time"),
        "cpuWeight": ("50", at_once),
        "cpuLimit": ("40 %", at_once),
        "diskRate": ("30 MiB/s", at_once),
        "diskOperations": ("200", at_once),
        "networkRate": ("1024 MiB/s", at_once),
    }


def test_another_limit_reaches_the_vm_that_runs() -> None:
    """At once, in the same boot of the same generation; and a new VM has it from the start."""
    fabric = Fabric()
    fabric.deploy()
    fabric.until(fabric.quiet)
    before = {one.name: one.at for one in fabric.control.instances("shop")}
    limits = Limits(disk_rate_mib_per_s=30)
    spec = fabric.control.service("shop").spec
    applied = fabric.control.apply_spec(dataclasses.replace(spec, roles=(web_role(limits=limits),)))
    assert applied.operation is None
    fabric.until(lambda: {machine.limits for machine in fabric.world.machines.values()} == {limits})
    assert {one.name: one.at for one in fabric.control.instances("shop")} == before
    fabric.control.scale("shop", {"web": 3})
    fabric.until(lambda: fabric.quiet() and len(fabric.world.machines) == 3)
    assert {machine.limits for machine in fabric.world.machines.values()} == {limits}


def test_what_is_not_said_is_far_from_what_is_needed() -> None:
    """CPUs by their number and without an end; disks and networks faster than a start or a busy service asks for."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, size=Size(vcpus=4)))
    machine = MachineType(accelerator=Accelerator.TCG, shares_cpus=True, shapes_traffic=True)
    taken = domain_limits.of(fabric.instance(), machine)
    assert (taken.shares, taken.quota_us) == (400, -1)
    assert taken.disk["total_bytes_sec"] >= 200 << 20
    assert taken.disk["total_iops_sec"] >= 5000
    assert taken.network_kib_per_s is not None
    assert taken.network_kib_per_s >= 125 * 1024
    least = dataclasses.replace(fabric.instance().role, limits=Limits(cpu_weight=1))
    assert domain_limits.of(dataclasses.replace(fabric.instance(), role=least), machine).shares == 2
    bare = domain_limits.of(fabric.instance(), MachineType(accelerator=Accelerator.TCG))
    assert (bare.shares, bare.quota_us, bare.network_kib_per_s) == (None, None, None)
    assert bare.disk == taken.disk


@pytest.mark.parametrize(
    ("files", "conf", "fault"),
    [
        ({"cgroup.controllers": "cpuset cpu io memory\n"}, "", ""),
        ({"cgroup.controllers": "cpuset io memory\n"}, "", "does not name cpu"),
        ({"cpu/tasks": ""}, "", ""),
        ({}, "", "no control group"),
        ({"cpu/tasks": ""}, 'cgroup_controllers = [ "cpu", "devices" ]\n', ""),
        ({"cpu/tasks": ""}, "cgroup_controllers = []\n", "cgroup_controllers"),
        ({"cpu/tasks": ""}, '#x\n  cgroup_controllers = [ "devices",\n "cpuset" ]\n', "cgroup_controllers"),
        ({"cpu/tasks": ""}, '#cgroup_controllers = [ "devices" ]\n', ""),
    ],
)
def test_which_hosts_share_cpus_by_weight(tmp_path: Path, files: dict[str, str], conf: str, fault: str) -> None:
    """Those with the controller of either hierarchy, unless libvirt was told to leave it alone."""
    groups, file = tmp_path / "cgroup", tmp_path / "qemu.conf"
    groups.mkdir()
    for name, text in files.items():
        (groups / name).parent.mkdir(exist_ok=True)
        (groups / name).write_text(text)
    if conf:
        file.write_text(conf)
    found = host_limits.cpu_fault(groups, file)
    assert fault in found
    assert bool(found) == bool(fault)


def test_the_doctor_says_what_is_not_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without policing is told with what it said; where all can be kept, there is nothing to tell."""
    (tmp_path / "groups" / "cpu").mkdir(parents=True)
    monkeypatch.setattr(host_limits.cpu_fault, "__defaults__", (tmp_path / "groups", tmp_path / "none"))
    for name, script in (("unshare", 'shift 2; exec "$@"'), ("ip", "exit 0"), ("tc", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert programs.limits(Config()).verdict is Verdict.PASS
    (tmp_path / "tc").write_text('#!/bin/sh\ncase "$*" in *police*) echo "Error: no police" >&2; exit 2;; esac\n')
    check = programs.limits(Config())
    assert check.verdict is Verdict.WARN
    assert "networks is not limited: no police" in check.message
    assert "act_police" in check.remedy
    (tmp_path / "groups" / "cpu").rmdir()
    assert "CPUs" in programs.limits(Config()).message
