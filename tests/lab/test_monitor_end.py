"""libvirt learns of a QEMU's end when it has ended, by a monitor that is held until then, of a daemon's rights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.suites.hypervisor import started
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage
from tests.world.unit_file import values

PROGRAM = """
import os, signal, sys
from orchestrator.drivers.hypervisor import monitor_end
pid = int(sys.argv[1])
process = os.pidfd_open(pid)
with monitor_end.held(pid, process) as count:
    print(count, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def stage(lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """A stage of its own for each test."""
    with real_stage(lab, micro_image) as stage:
        yield stage


def test_libvirt_sees_the_end_of_a_qemu_that_has_ended(stage: RealStage, lab: Lab) -> None:
    """Who holds has no more than the unit gives the daemon, whose user is not QEMU's."""
    instance = started(stage)
    pid = stage.pid(instance.name)
    assert Path(f"/proc/{pid}").stat().st_uid != os.getuid()
    kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in values("CapabilityBoundingSet"))
    argv = ["setpriv", f"--bounding-set=-all{kept}", "--no-new-privs", sys.executable, "-c", PROGRAM, str(pid)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holds:
        assert holds.stdin is not None
        assert holds.stdout is not None
        assert holds.stdout.readline() == "2\n", "that which listens, and that which libvirt is connected to"
        stage.kill(instance.name)
        stage.until(lambda: not Path(f"/proc/{pid}").exists())
        assert lab.virsh("domstate", instance.name).strip() == "running"
        holds.stdin.write("\n")
        holds.stdin.flush()
        stage.until(lambda: lab.virsh("domstate", instance.name).strip() == "shut off")
    assert holds.wait() == 0
