"""A role with local storage that is reimaged warm, and what its guest writes there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon

NAME: Final = "web-0.shop"
SERVICE: Final = """service: shop
roles:
  web:
    image: micro
    reimage: warm
    size: {{vcpus: 1, memory: 128 MiB}}
    localStorage:
      cache: {{size: 64 MiB}}
    ready: {{within: 3 min}}
    answers:
      userData: |
        #!/bin/sh
        {script}
"""
# Writes that nobody waits for: of data and of what the file system knows of itself.
IN_FLIGHT: Final = (
    "(cd /local/cache && while :; do dd if=/dev/urandom of=loose bs=65536 count=20; mkdir -p a/b; rm -r a; done)"
    " > /dev/null 2>&1 < /dev/null &"
)
FOUND: Final = (
    "cd / && for each in local/cache/kept-*/*; do [ ! -e $each ] || sha256sum $each; done | sort -k 2;"
    " grep -q ' /local/cache ext4 rw' /proc/mounts && echo mounted"
)
_WRITE: Final = (
    "cd / && mkdir -p local/cache/kept-{life} && for each in 1 2 3 4 5 6 7 8; do"
    " dd if=/dev/urandom of=local/cache/kept-{life}/$each bs=4096 count=$((each * 5)) conv=fsync 2> /dev/null; done;"
    " sync; sha256sum local/cache/kept-{life}/*"
)


def in_guest(lab: Lab, script: str) -> str:
    """What a script prints in the guest."""
    return lab.guest(NAME, ["/bin/sh", "-c", script], within_s=60.0).strip()


def written(lab: Lab, life: int) -> dict[str, str]:
    """Files that the guest has been told are kept, by name, and their digests."""
    lines = in_guest(lab, _WRITE.format(life=life)).splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def checkpoints(daemon: RoleDaemon) -> Path:
    """Where the checkpoint of the instance lies."""
    return daemon.state / "lib" / "checkpoints" / NAME


def storage_of(daemon: RoleDaemon) -> Path:
    """Its local storage."""
    return daemon.state / "lib" / "storage" / NAME / "cache.raw"


def lost(disk: Path, place: Path, kept: dict[str, str]) -> list[str]:
    """Which of the files that were told are kept are not what they were, once the journal is played back."""
    copy, found = place / "copy.raw", place / "found"
    shutil.copyfile(disk, copy)
    subprocess.run(["e2fsck", "-p", str(copy)], capture_output=True, check=False)
    found.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {found}", str(copy)], capture_output=True, check=False)
    files = {name: found / Path(name).relative_to("local/cache") for name in kept}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}
    shutil.rmtree(found)
    copy.unlink()
    return [name for name, digest in kept.items() if digests.get(name) != digest]


def is_whole(disk: Path, place: Path) -> bool:
    """Whether the file system on a disk, its journal played back, needs no repair."""
    copy = place / "copy.raw"
    shutil.copyfile(disk, copy)
    subprocess.run(["e2fsck", "-p", str(copy)], capture_output=True, check=False)
    done = subprocess.run(["e2fsck", "-f", "-n", str(copy)], capture_output=True, text=True, check=False)
    print(done.stdout)
    copy.unlink()
    return done.returncode == 0
