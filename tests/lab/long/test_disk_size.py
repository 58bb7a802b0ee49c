"""A system disk that is larger than its image, in a real guest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.disks.overlays import QemuImgDisks
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NoSpace
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, ready, service
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST

__all__ = ["ready"]
GIB = 1024**3


def sized(size: str) -> str:
    """The service with a disk of that size."""
    return service().replace("memory: 128 MiB}", f"memory: 128 MiB, disk: {size}}}")


def disk_bytes(lab: Lab) -> int:
    """What the guest sees of its system disk."""
    return int(lab.guest("web-0.shop", ["/bin/sh", "-c", "cat /sys/block/vda/size"])) * 512


def test_a_guest_sees_the_disk_that_its_role_asks_for(lab: Lab, ready: RoleDaemon) -> None:
    """Larger than the image; another size is told, and comes with a reimage; smaller than the image is refused."""
    apply(ready, sized("2 GiB"))
    assert disk_bytes(lab) == 2 * GIB
    told = ready.run("diff", "-f", "-", text=sized("3 GiB"), check=False).stdout
    assert "size.disk" in told
    apply(ready, sized("3 GiB"))
    assert (disk_bytes(lab), instance(ready)["generation"]) == (3 * GIB, 2)
    refused = ready.run("apply", "-f", "-", text=sized("1 MiB"), check=False)
    assert refused.returncode == 2
    assert "smaller than the image" in refused.stderr
    ready.run("delete", "service", "shop", "--wait")


def test_local_storage_grows_with_what_is_in_it(lab: Lab, ready: RoleDaemon) -> None:
    """A larger size is told, comes with a reimage, disk and file system, and what was written is there."""
    apply(ready, service())
    lab.guest("web-0.shop", ["/bin/sh", "-c", "echo mine >/local/cache/file; sync"])
    larger = service().replace("cache: {size: 32 MiB}", "cache: {size: 192 MiB}")
    told = ready.run("diff", "-f", "-", text=larger, check=False).stdout
    assert "localStorage.cache.size: 32 MiB -> 192 MiB" in told
    assert "it grows" in told
    apply(ready, larger)
    seen = lab.guest("web-0.shop", ["/bin/sh", "-c", "cat /local/cache/file; df -k /local/cache | tail -1"])
    word, line = seen.splitlines()
    assert (word, instance(ready)["generation"]) == ("mine", 2)
    assert int(line.split()[1]) > 160 * 1024, line
    ready.run("delete", "service", "shop", "--wait")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Layout]:
    """A state directory of 100 MiB with an image."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(place)], check=True)
    layout = Layout(place / "state", tmp_path / "run")
    layout.images.mkdir(parents=True)
    image = layout.images / f"{DIGEST}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "16M"], check=True)
    image.chmod(0o444)
    yield layout
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_nothing_new_is_begun_where_running_guests_need_the_room(small: Layout) -> None:
    """Below the reserve no disk is laid, though it would fit; when there is room again it is."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    disks = QemuImgDisks(small, reserve_bytes=GIB)
    filler = small.state / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 97 << 20)
    with pytest.raises(NoSpace, match="no room for"):
        disks.lay_overlay(fabric.instance())
    with pytest.raises(NoSpace, match="no room for"):
        disks.lay_local_storage(fabric.instance())
    assert disks.inventory() == {}
    filler.unlink()
    disks.lay_overlay(fabric.instance())
    disks.lay_local_storage(fabric.instance())
    assert disks.inventory()[fabric.instance().name] == {"overlay:1", "storage:cache"}
