"""What is kept of a real virtual machine that failed: asked of libvirt, QEMU and its guest while it still runs."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

from tests.lab.edited_disk import Disk
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

WEB = "web-0.shop"
COMES_S = 900.0
DAY_S = 86_400.0
# Whose services never say that they have started; told of by a secret.
SCRIPT = """#!/bin/sh
: the password is sesame-on-no-account
mkdir -p /etc/vmrole
: > /etc/vmrole/hold
echo as it was > /marker
"""
SERVICE = """service: shop
roles:
  web:
    image: micro
    size: {vcpus: 1, memory: 128 MiB}
    devices: {screen: true}
    evidence: {disk: true}
    setup: {within: 15 min}
    ready: {within: 5 s}
    answers: {userData: {secret: web.sh}}
"""
KEPT = {
    *("manifest.json", "reason.txt", "console.log", "screen.png", "journal.txt", "agent.txt", "ledger.txt"),
    *("libvirt.txt", "domain.xml", "qemu.log", "answers.txt"),
}


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and rows of a picture; AssertionError where it is none, or not whole."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + content),)
        chunks.append((kind, content))
        at += 12 + length
    assert (chunks[0][0], chunks[-1]) == (b"IHDR", (b"IEND", b""))
    width, height, depth, colours = struct.unpack_from(">IIBB", chunks[0][1])
    rows = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    assert len(rows) == height * (1 + width * {2: 3, 6: 4}[colours] * depth // 8)
    return width, height, rows


def evidence(daemon: RoleDaemon) -> list[dict[str, Any]]:
    """What is kept of it."""
    found: list[dict[str, Any]] = daemon.json("evidence", "ls", WEB)
    return found


def fetched(daemon: RoleDaemon, mark: str, place: Path) -> dict[str, bytes]:
    """The files of a failure, as its fetcher has them."""
    packed = place / f"{mark}.tar.zst"
    daemon.run("evidence", "get", WEB, mark, "--to", str(packed))
    subprocess.run(["tar", "--zstd", "-xf", str(packed)], cwd=place, check=True)
    return {one.name: one.read_bytes() for one in (place / f"{WEB}-{mark}").iterdir()}


def test_a_failure_is_kept_with_screen_words_and_disk(ready: RoleDaemon, tmp_path: Path) -> None:
    """Before each rung, all of it, of a guest whose agent answers; the disk of what was made anew as it was, which
    nobody can write to, for a day and no longer, also where the daemon does not run all the time.
    """
    ready.give_secret("web.sh", SCRIPT)
    apply(ready, SERVICE, wait=False)
    until(lambda: instance(ready)["phase"] == "failed", COMES_S, what="the failure")
    kept = evidence(ready)
    assert [one["mark"].partition("-")[0] for one in kept] == ["1", "1", "2"], "a restart, a reimage, and no more"
    assert all("overdue while starting" in one["reason"] for one in kept)
    each = [fetched(ready, one["mark"], tmp_path) for one in kept]
    for files in each:
        is_whole(files)
    assert any("Linux version" in files["journal.txt"].decode() for files in each), "in time, on a busy host"

    (one,) = (one for one in kept if "disk.qcow2" in one["files"])
    assert one is kept[1], "of what was made anew"
    place = ready.state / "lib" / "evidence" / WEB / one["mark"]
    disk = place / "disk.qcow2"
    assert (disk.stat().st_mode & 0o777, disk.stat().st_uid, place.stat().st_mode & 0o077) == (0o400, 0, 0)
    tried = subprocess.run(["qemu-img", "check", str(disk)], check=False, capture_output=True, text=True)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    told = subprocess.run(["qemu-img", "info", "--output=json", str(disk)], check=True, capture_output=True).stdout
    assert Path(json.loads(told)["full-backing-filename"]).parent == ready.state / "lib" / "images"
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    assert Disk(raw, tmp_path).read("/marker") == b"as it was\n"

    long_ago_s = time.time() - 1.1 * DAY_S
    os.utime(disk, (long_ago_s, long_ago_s))
    ready.kill()
    ready.start()
    until(lambda: not disk.exists(), COMES_S, what="its end")
    assert [one["mark"] for one in evidence(ready)] == [one["mark"] for one in kept], "the rest stays"
    assert ready.run("evidence", "rm", WEB, one["mark"]).stdout == f"{WEB} {one['mark']} removed\n"
    assert not place.exists()


def is_whole(files: dict[str, bytes]) -> None:
    """All is there and is what its manifest says."""
    assert files.keys() == KEPT
    manifest = json.loads(files["manifest.json"])
    assert manifest["absent"] == {}
    assert (manifest["instance"], manifest["service"], manifest["role"]) == (WEB, "shop", "web")
    assert manifest["files"].keys() | {"manifest.json"} == files.keys()
    for name, said in manifest["files"].items():
        assert (said["size_bytes"], said["sha256"]) == (len(files[name]), hashlib.sha256(files[name]).hexdigest())
    width, height, rows = pixels(files["screen.png"])
    assert width >= 320
    assert height >= 200
    assert len(set(rows)) > 1, "something is on it"
    text = {name: content.decode() for name, content in files.items() if name != "screen.png"}
    assert "vmrole: setup: complete" in text["console.log"]
    assert "overdue while starting" in text["reason.txt"]
    assert "services -> " in text["agent.txt"]
    assert "setup -> starting" in text["ledger.txt"]
    assert text["libvirt.txt"].startswith("state running")
    assert "-device" in text["qemu.log"]
    assert "<name>web-0.shop</name>" in text["domain.xml"]
    assert '"local-hostname": "web-0"' in text["answers.txt"]
    assert not [name for name, said in text.items() if "sesame" in said]
