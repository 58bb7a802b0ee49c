"""A drive whose plug is pulled: SIGKILL of its QEMU in the middle of writes, again and again."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon, processes_naming
from tests.lab.services import SERVES_S, apply, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

PULLS: Final = int(os.environ.get("VMROLE_PULLS", "100"))
ACKNOWLEDGED_MAX: Final = 12  # files that are known to be kept, before the plug is pulled
DB: Final = "db-0.shop"
# Each file has a name of its own, and is told of when it and its name are kept; beside that, writes that nobody waits
# for. What the boot before this one wrote is looked at first, then taken away.
SERVICE: Final = """service: shop
roles:
  db:
    image: micro
    size: {vcpus: 1, memory: 128 MiB}
    drives:
      data: {drive: "orders-{index}", mount: /srv/data}
    setup: {within: 15 min}
    ready: {within: 15 min}
    restart: {within: 15 min}
    answers:
      userData: |
        #!/bin/sh
        mkdir -p /etc/vmrole/start.d
        cat > /etc/vmrole/start.d/writer <<'END'
        #!/bin/sh
        cd /srv/data || exit
        echo boot >> boots
        rm -f kept-* loose-*
        sync
        {
            file=0
            while :; do
                file=$((file + 1))
                dd if=/dev/urandom of=.new bs=4096 count=$((file % 16 + 1)) conv=fsync 2> /dev/null
                sum=$(sha256sum < .new)
                mv .new kept-$file
                sync /srv/data
                echo "told kept-$file ${sum%% *}" > /dev/ttyS0
            done
        } &
        {
            while :; do
                for each in 1 2 3; do
                    dd if=/dev/urandom of=loose-$each bs=65536 count=24 2> /dev/null
                    mkdir -p loose-d/$each && rm -r loose-d
                done
            done
        } &
        END
        chmod 755 /etc/vmrole/start.d/writer
"""


@pytest.mark.timeout(5 * 3600)
def test_a_plug_that_is_pulled_costs_nothing_that_was_kept(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """The file system needs its journal and no repair, and what the guest was told is kept is there, whole."""
    ready.run("drive", "create", "orders-0", "--size", "64 MiB")
    apply(ready, SERVICE)
    ready.run("pause", "shop")  # What heals would wait longer each time.
    disk = ready.state / "lib" / "drives" / "orders-0" / "disk.raw"
    console = next((ready.state / "lib").rglob(f"{DB}*.log"))
    dice, boots = random.Random(15), 0
    for pull in range(1, PULLS + 1):
        began = console.stat().st_size
        wanted = dice.randint(1, ACKNOWLEDGED_MAX)
        until(
            lambda began=began, wanted=wanted: len(told(console, began)) >= wanted, SERVES_S, what="files to be kept"
        )  # type: ignore[misc]
        (qemu,) = processes_naming(f"guest={DB}")
        os.kill(qemu, signal.SIGKILL)
        until(lambda: not processes_naming(f"guest={DB}"), SERVES_S, what="the end of QEMU")
        files = kept(disk, tmp_path / f"pull-{pull}")
        for name, digest in told(console, began).items():
            assert hashlib.sha256(files[name]).hexdigest() == digest, f"pull {pull}: {name} is not what was kept"
        boots, before = files["boots"].count(b"boot\n"), boots
        assert boots > before, f"pull {pull}: the drive has forgotten {before - boots} boots"
        ready.run("restart", "db-0", "--wait")
    assert boots >= PULLS
    ready.run("delete", "service", "shop", "--wait")
    assert ready.run("verify", check=False).returncode == 0


def told(console: Path, began: int) -> dict[str, str]:
    """Which files are kept, by what the console has said since it was so long, and their digests."""
    with console.open("rb") as stream:
        stream.seek(began)
        text = stream.read().decode(errors="replace")
    return dict(re.findall(r"told (kept-\d+) ([0-9a-f]{64})\r?\n", text))


def kept(disk: Path, place: Path) -> dict[str, bytes]:
    """The files in a copy of the drive, of which its journal is played back; the file system is whole."""
    copy = place.with_suffix(".raw")
    subprocess.run(["cp", "--sparse=always", str(disk), str(copy)], check=True)
    played = subprocess.run(["e2fsck", "-p", str(copy)], capture_output=True, text=True, check=False)
    assert played.returncode in (0, 1), played.stdout + played.stderr
    whole = subprocess.run(["e2fsck", "-f", "-n", str(copy)], capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    place.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {place}", str(copy)], check=True, capture_output=True)
    found = {one.name: one.read_bytes() for one in place.iterdir() if one.is_file()}
    subprocess.run(["rm", "-r", str(place), str(copy)], check=True)
    return found
