"""A guest that writes to its console without end: it costs the host a bound of disk, and nobody else anything."""

from __future__ import annotations

import time
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT_NAMESPACE
from tests.lab.harness.role import VMROLE, RoleDaemon
from tests.lab.services import VIP, apply, service
from tests.lab.stand_in import reaches
from tests.world.waiting import comes_true

FILES, FILE_BYTES = 4, 2 << 20  # what virtlogd keeps of a console, by its own default
WRITTEN_BYTES = 3 * FILE_BYTES  # so that what follows it has gone over several ends of a file
FLOODS_S = 900.0  # an emulated serial port takes some 45 kB/s
GROWS_MIB = 24.0
_MIB = 1024


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / _MIB


def test_a_guest_that_floods_its_console_fills_nothing(
    lab: Lab, daemon: RoleDaemon, micro_image: Path, tmp_path: Path
) -> None:
    """Disk and the daemon's memory stay bounded, the others serve, and whoever follows the console goes on to."""
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    apply(daemon, service(2))
    before_mib = rss_mib(daemon.pid)
    console = daemon.state / "lib/consoles/web-0.shop.log"
    writes = "while :; do busybox seq 100000 999999; done >/dev/ttyS0"
    flood = f"setsid /bin/sh -c '{writes}' </dev/null >/dev/null 2>&1 &"
    followed = tmp_path / "followed"
    with followed.open("wb") as out:
        follower = lab.host.popen(
            ["env", f"VMROLE_SOCKET={daemon.socket}", VMROLE, "console", "web-0.shop", "-f", "--raw"], stdout=out
        )
    try:
        lab.guest("web-0.shop", ["/bin/sh", "-c", f"{flood} exit 0"])
        most, began = 0, time.monotonic()

        def is_enough() -> bool:
            nonlocal most
            sizes = [file.stat().st_size for file in console.parent.glob(f"{console.name}*")]
            most = max(most, sum(sizes))
            assert len(sizes) <= FILES, sizes
            assert max(sizes) <= FILE_BYTES, sizes
            return followed.stat().st_size > WRITTEN_BYTES

        assert comes_true(is_enough, FLOODS_S, look_s=0.5), (followed.stat().st_size, most)
        print(f"{followed.stat().st_size} bytes in {time.monotonic() - began:.0f} s, at most {most} on disk")
        assert follower.poll() is None
        assert rss_mib(daemon.pid) - before_mib < GROWS_MIB
        assert reaches(CLIENT_NAMESPACE, VIP, 80)
        assert [one["phase"] for one in daemon.json("get", "instances")] == ["serving", "serving"]
        assert daemon.run("console", "web-1.shop", "--log").stdout
        assert daemon.run("console", "web-0.shop", "--log").stdout
    finally:
        follower.kill()
        follower.wait(timeout=60)
