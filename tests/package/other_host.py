"""Runs rings of the tests on another distribution: `python -m tests.package.other_host SUITE RING...`, as root.

The distribution is made in a directory from its own archive and provisioned as the README says, and the rings run
in it by the kernel of this machine: with that distribution's libvirt, QEMU, HAProxy, nft and Python.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.package import trees
from tests.package.trees import Tree
from tests.rings import LABS, RINGS
from tests.world.places import REPOSITORY

SOURCE = "/src"
ASKED = ("python3", "libvirt-daemon-system", "qemu-system-x86", "haproxy", "nftables", "dnsmasq-base", "systemd")
_MAKE = ("make", "-C", SOURCE)


@contextlib.contextmanager
def host(suite: str) -> Iterator[Tree]:
    """The distribution, with this checkout in it; gone afterwards."""
    place = Path(f"/var/tmp/vmrole-{suite}-{os.getpid()}")
    place.mkdir(mode=0o755)
    try:
        trees.make(suite, place / "base.tar")
        tree = trees.unpacked(place / "base.tar", place / "host")
        trees.carry(REPOSITORY, tree.at(SOURCE))
        yield tree
    finally:
        shutil.rmtree(place)


def main(arguments: list[str]) -> int:
    """Returns the status of the rings; 2 when there is no such distribution or ring."""
    suite, *rings = arguments or [""]
    unknown = [suite] if suite not in trees.SUITES else [ring for ring in rings if ring not in RINGS]
    if unknown or not rings:
        print(f"say a distribution ({', '.join(trees.SUITES)}) and rings ({', '.join(RINGS)})", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("a distribution is made as root: sudo", file=sys.stderr)
        return 2
    print(f"making {suite} in a directory, from its archive", flush=True)
    with host(suite) as tree:
        images = ["images"] if set(rings) & set(LABS) else []
        made = _follow(tree.argv(*_MAKE, "provision", *images, network=True, devices=True))
        print(tree.must("dpkg-query", "-W", *ASKED), flush=True)
        return made or _follow(
            tree.argv("env", "-C", SOURCE, ".venv/bin/python", "-m", "tests.rings", *rings, devices=True)
        )


def _follow(argv: list[str]) -> int:
    """Runs it and lets its output be seen."""
    return subprocess.run(argv, check=False, timeout=trees.RINGS_S).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
