"""The example of a systemd unit: what it gives the daemon, and what it keeps from it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.api.listening import BACKLOG, SOCKET_MODE
from orchestrator.client.transport import for_looking
from orchestrator.drivers.hypervisor import accelerator
from orchestrator.host.config import Config
from tests.world.places import REPOSITORY
from tests.world.unit_file import UNIT, values

EXPOSURE_MAX = 4.0


def test_systemd_finds_little_to_expose() -> None:
    """By systemd's own measure, 0 to 10."""
    judge = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    judged = subprocess.run(judge, capture_output=True, text=True, timeout=60, check=False).stdout
    (overall,) = [line for line in judged.splitlines() if "Overall exposure level" in line]
    assert float(overall.split(":")[1].split()[0]) <= EXPOSURE_MAX, judged


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """No directive that it does not know, no value that it cannot take."""
    unit = tmp_path / "vmrole.service"
    unit.write_text(UNIT.read_text().replace("/opt/vmrole/.venv/bin/vmrole", "/bin/true"))
    read = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in read.stderr.splitlines() if "vmrole.service" in line] == []


def test_the_lab_applies_every_line() -> None:
    """What confines the daemon there has a way for each directive; only the system's Python has what it needs."""
    asked = "import sys, pathlib, confine; print(*confine.not_applied(confine.service(pathlib.Path(sys.argv[1]))))"
    harness = REPOSITORY / "tests" / "lab" / "harness"
    told = subprocess.run(
        ["/usr/bin/python3", "-c", asked, UNIT], cwd=harness, capture_output=True, check=True, text=True, timeout=60
    )
    assert told.stdout.split() == []


@pytest.mark.parametrize("name", ["vmrole.socket", "vmrole-read.socket"])
def test_systemd_makes_the_sockets_as_the_daemon_would(tmp_path: Path, name: str) -> None:
    """Each where the daemon looks for it, of its group, for that daemon; systemd understands every line."""
    settings = Config()
    own, look = str(settings.socket), for_looking(str(settings.socket))
    place, group = (
        (own, settings.socket_group) if Path(own).name.startswith(f"{name[:-7]}.") else (look, settings.readers_group)
    )
    examples = UNIT.parent
    says = dict(line.split("=", 1) for line in (examples / name).read_text().splitlines() if re.match("[A-Z]", line))
    assert (says["ListenStream"], says["SocketGroup"]) == (place, group)
    assert (int(says["SocketMode"], 8), int(says["Backlog"])) == (SOCKET_MODE, BACKLOG)
    assert says.get("Service", name.replace(".socket", ".service")) == UNIT.name
    for file in (UNIT, examples / name):
        text = file.read_text().replace("/opt/vmrole/.venv/bin/vmrole", "/bin/true")
        (tmp_path / file.name).write_text(text)
    read = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert [line for line in read.stderr.splitlines() if "vmrole" in line] == []


def test_it_has_what_the_daemon_needs() -> None:
    """Descriptors for many VMs, what outlives it left alone, seven capabilities and three that HAProxy drops."""
    assert values("LimitNOFILE") == ["65536"]
    assert (values("KillMode"), values("RuntimeDirectoryPreserve")) == (["process"], ["yes"])
    assert len(values("CapabilityBoundingSet")) == 7 + 3
    assert values("NoNewPrivileges") == ["yes"]
    assert (values("Type"), values("Restart"), values("WatchdogSec")) == (["notify"], ["on-failure"], ["5min"])
    (start,) = values("TimeoutStartSec")
    assert 60 * int(start.removesuffix("min")) > 2 * 2 * (accelerator.DEADLINE_S + accelerator.CONTROL_S)
    assert int(values("OOMScoreAdjust")[0]) < 0
    assert {"libvirtd.service", "virtqemud.socket", "virtnetworkd.socket"} <= {*values("After")} & {*values("Wants")}
    assert {"/proc/sys/net", "/sys/devices/virtual/net"} <= {*values("ReadWritePaths")}
    assert "pidfd_getfd" in values("SystemCallFilter")
