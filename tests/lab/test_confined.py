"""The daemon with no more rights than its unit gives it, through a service's life."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness import answers, enter
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import HOST
from tests.lab.harness.role import kill_naming
from tests.lab.services import URL, apply, instance, service
from tests.world.unit_file import UNIT, values

CONFINE = str(enter.REPOSITORY / "tests" / "lab" / "harness" / "confine.py")
SECCOMP_FILTER = "2"  # proc(5)
TUNABLES = {"/proc/sys": False, "/proc/sys/net": True, "/sys": False, "/sys/devices/virtual/net": True}
BRIDGE = "office0"
ON_IT = f"    network: {{bridge: {BRIDGE}, addresses: [198.51.100.10/24, 198.51.100.11/24]}}\n"


@pytest.fixture
def bridge() -> Iterator[str]:
    """One of the host's own, which the unit lets the daemon guard its ports on."""
    HOST.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    try:
        HOST.run(["ip", "link", "set", BRIDGE, "up"])
        yield BRIDGE
    finally:
        HOST.run(["ip", "link", "delete", BRIDGE])


def test_the_daemon_lives_on_what_its_unit_gives_it(lab: Lab, micro_image: Path, bridge: str) -> None:
    """Its capabilities, files, devices, address families and system calls, and no others: deploy, also on a bridge of
    the host's, reimage, a new HAProxy, restart, delete; nothing is left or amiss.
    """
    daemon = lab.daemon(run=Path("/run/vmrole"), bridges=[bridge])
    cache = (daemon.state / "lib" / "cache").resolve()
    daemon.confine("/usr/bin/python3", CONFINE, str(UNIT), *map(str, (daemon.state, daemon.run_dir, cache)), "--")
    daemon.start()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    assert int(status["CapEff"], 16).bit_count() == len(values("CapabilityBoundingSet"))
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", SECCOMP_FILTER)

    assert {place: _may_write(daemon.pid, place) for place in TUNABLES} == TUNABLES

    daemon.run("image", "add", str(micro_image), "--name", "micro")
    apply(daemon, service(2).replace("    setup:", f"{ON_IT}    setup:"))
    assert set(answers.distinct(lab.client, URL, 2, 30.0)) == {"web-0.shop", "web-1.shop"}
    kill_naming(str(daemon.run_dir / "haproxy" / "haproxy.cfg"))
    answers.distinct(lab.client, URL, 2, 30.0)
    assert json.loads(daemon.run("verify", "-o", "json").stdout) == []
    daemon.run("reimage", "web-0", "--wait")
    assert instance(daemon)["generation"] == 2
    daemon.run("restart", "web-1", "--wait")
    assert json.loads(daemon.run("verify", "-o", "json").stdout) == []
    daemon.run("delete", "service", "shop", "--wait")
    assert json.loads(daemon.run("verify", "-o", "json").stdout) == []
    assert "Traceback" not in daemon.last_words(100_000)


def _may_write(pid: int, place: str) -> bool:
    """Whether what is mounted there is so, for that process, that it may be written to."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return ["rw" in line.split()[5].split(",") for line in lines if line.split()[4] == place][-1]
