"""Whose fault it is, seen on real virtual machines: a new image from which nobody comes up is made anew no more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.edited_disk import edited
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.world.waiting import until

COMES_S = 600.0
LEFT_ALONE_S = 15.0  # much longer than what may be made anew is left failed
SETUP_S = 30  # a micro guest is set up well before that
SERVICE = """service: shop
upgrade: {maxUnavailable: 2}
roles:
  web:
    image: IMAGE
    instances: 3
    size: {vcpus: 1, memory: 128 MiB}
    setup: {within: SETUP}
    ready: {within: 10 min}
"""


@pytest.fixture
def dumb_image(micro_image: Path, tmp_path: Path) -> Path:
    """The micro image whose agent never says a word."""
    with edited(micro_image, tmp_path, "dumb") as (disk, made):
        disk.read("/usr/sbin/qemu-ga")
        disk.remove("/usr/sbin/qemu-ga")
    return made


def file(image: str, setup: str) -> str:
    """The service's file."""
    return SERVICE.replace("IMAGE", image).replace("SETUP", setup)


def rows(daemon: RoleDaemon) -> list[dict[str, Any]]:
    """The instances as the API shows them, by index."""
    found: list[dict[str, Any]] = daemon.json("get", "instances")
    return sorted(found, key=lambda row: row["index"])


def test_an_image_from_which_nobody_comes_up_is_suspect(
    lab: Lab, daemon: RoleDaemon, micro_image: Path, dumb_image: Path
) -> None:
    """Two of three fail with it, the third has the old one and serves: the rollout halts, nobody is made anew, over a
    restart of the daemon, until somebody trusts the image; and the way back is open.
    """

    def suspect() -> str:
        return {row["names"][0]: row["suspect"] for row in daemon.json("image", "ls")}["dumb"] or ""

    def uuids() -> list[str]:
        return [row["vm_uuid"] for row in rows(daemon)]

    daemon.run("image", "add", str(micro_image), "--name", "micro")
    daemon.run("image", "add", str(dumb_image), "--name", "dumb")
    daemon.run("apply", "-f", "-", "--wait", text=file("micro", "10 min"))
    before = rows(daemon)
    daemon.run("apply", "-f", "-", text=file("dumb", f"{SETUP_S} s"))
    until(lambda: [row["phase"] for row in rows(daemon)] == ["failed", "failed", "serving"], COMES_S, what="blame")
    assert "the 1 that have the old one serve: it is not made anew" in suspect()
    assert "suspect" in daemon.run("image", "ls").stdout
    assert "failed" in daemon.run("rollout", "status", "shop").stdout
    for name in ("web-0", "web-1"):
        why = daemon.run("why", name).stdout
        assert "with its image, which is new" in why, why
    failed = rows(daemon)
    assert failed[2]["vm_uuid"] == before[2]["vm_uuid"]
    assert sum(row["generation"] - 2 for row in failed[:2]) <= 1, "the first to fail may have been alone in it"

    daemon.kill()
    daemon.start()
    time.sleep(LEFT_ALONE_S)
    assert uuids() == [row["vm_uuid"] for row in failed]
    assert [row["phase"] for row in rows(daemon)] == ["failed", "failed", "serving"]

    daemon.run("image", "trust", "dumb")
    assert suspect() == ""
    until(lambda: uuids()[:2] != [row["vm_uuid"] for row in failed[:2]], COMES_S, what="another try")
    assert uuids()[2] == before[2]["vm_uuid"]

    daemon.run("rollout", "undo", "shop")
    daemon.run("wait", "shop", "--timeout", f"{COMES_S:g}")
    assert [row["stale"] for row in rows(daemon)] == [False, False, False]
    assert uuids()[2] == before[2]["vm_uuid"]
    assert daemon.json("verify") == []
