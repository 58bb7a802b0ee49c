"""A full disk while an overlay is laid: told, waited out, nothing lost."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.test_life import apply, instance, service, until

STATE_MIB = 64


@pytest.fixture
def small_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory on a file system of its own, with room for the image and little more."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_told_and_waited_out(lab: Lab, small_state: Path, micro_image: Path) -> None:
    """The instance says that there is no room and goes on when there is; the service is accepted all the same."""
    daemon = lab.daemon(small_state / "vmrole", disk_reserve_mib=0, disk_overcommit=1000)  # nobody counts here
    daemon.start()
    try:
        daemon.run("image", "add", str(micro_image), "--name", "micro")
        filler = small_state / "filler"
        apply(daemon, service(0), wait=False)  # The network and the records need a little room themselves.
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        filled = filler.stat().st_size
        with filler.open("r+b") as file:
            file.truncate(filled - 96 * 1024)  # Enough for the records, not for an overlay of 192 KiB.
        apply(daemon, service(1), wait=False)
        until("the reason", lambda: "no room for" in instance(daemon)["waiting"], 30.0)
        assert instance(daemon)["phase"] == "requested"
        assert daemon.run("image", "add", str(micro_image), "--name", "again", check=False).returncode != 0

        filler.unlink()
        daemon.run("wait", "shop", "--for=serving", "--timeout", "180")
        assert (instance(daemon)["generation"], instance(daemon)["strikes"]) == (1, 0)
        daemon.run("delete", "service", "shop", "--wait")
    finally:
        daemon.kill_with_children()
