"""Directories of the host that guests read by virtiofs: real virtual machines, and what they try all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import sharing
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import HOST
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, ready

__all__ = ["ready"]  # fixtures

# What root of the guest does who wants to write: by the mount that there is, by it made writable, and by another.
HOSTILE = """
cd /data
try() { "$@" >/dev/null 2>&1 && echo "did: $*"; }
attack() {
    try sh -c "echo mine > $1/words"
    try sh -c "echo mine >> $1/below/deep"
    try touch $1/new
    try mkdir $1/dir
    try rm $1/words
    try mv $1/words $1/other
    try chmod 777 $1/words
    try ln $1/words $1/hard
    try mknod $1/disk b 8 0
    try dd if=$1/disk of=/dev/null bs=1 count=1
}
attack /data
mount -o remount,rw /data && echo "the guest has it writable"
attack /data
mkdir -p /mnt/again && mount -t virtiofs -o rw data /mnt/again && echo "mounted again"
attack /mnt/again
try cat /mnt/again/../../../etc/shadow.of.host
umount /mnt/again
mount -o remount,ro /data
true
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory of the host's, with what root alone may read in it."""
    place = tmp_path / "shared"
    (place / "below").mkdir(parents=True)
    (place / "words").write_text("of the host\n")
    (place / "words").chmod(0o600)
    (place / "below/deep").write_text("deep\n")
    return place


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path, shared: Path) -> Iterator[RoleDaemon]:
    """One whose host's owner gives that directory to guests, and one that is not there."""
    daemon = lab.daemon(tmp_path / "vmrole", shares=[str(shared), "/srv/nonesuch"])
    daemon.start()
    yield daemon
    daemon.kill_with_children()


def service(source: str) -> str:
    """One instance that has that directory at /data."""
    return f"""service: shop
roles:
  web:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    reimage: warm
    shares:
      data: {{source: {source}, mount: /data}}
    setup: {{within: 15 min}}
    ready: {{within: 10 min}}
"""


def lies(place: Path) -> dict[str, tuple[int, str]]:
    """Everything below it: mode, and what stands in it."""
    return {
        str(each.relative_to(place)): (each.lstat().st_mode, each.read_text() if each.is_file() else "")
        for each in place.rglob("*")
    }


def refused(ready: RoleDaemon, source: str) -> str:
    """What apply says of a service that names that directory."""
    answer = ready.run("apply", "-f", "-", text=service(source), check=False)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    return answer.stderr


def test_a_guest_reads_what_it_is_given_and_writes_nothing(lab: Lab, ready: RoleDaemon, shared: Path) -> None:
    """Whatever root of the guest does, after the restart of its setup; and after a reimage. No other directory."""
    told = refused(ready, "/etc/ssl")
    assert "stdin:8: roles.web.shares.data.source: this host's owner does not give /etc/ssl to guests" in told
    assert f"name one of: /srv/nonesuch, {shared}; or have the owner add it to shares in vmrole.toml" in told
    assert "/srv/nonesuch cannot be looked at: No such file or directory" in refused(ready, "/srv/nonesuch")

    said = ready.run("diff", "-f", "-", text=service(str(shared)), check=False).stdout
    assert "without its memory: what serves its shares is not saved with it" in said
    apply(ready, service(str(shared)))
    before = lies(shared)
    for generation in (1, 2):
        if generation > 1:
            ready.run("reimage", "web-0", "--wait")
        assert lab.guest("web-0.shop", ["/bin/cat", "/data/words", "/data/below/deep"]) == "of the host\ndeep\n"
        tried = lab.guest("web-0.shop", ["/bin/sh", "-c", HOSTILE])
        assert tried.split("\n")[:-1] == ["the guest has it writable", "mounted again"], "and nothing of it was done"
        assert lies(shared) == before, generation

    (shared / "words").write_text("of today\n")
    seen = lab.guest("web-0.shop", ["/bin/sh", "-c", "cat /data/words; grep ' /data ' /proc/mounts"])
    assert seen.startswith("of today\n")
    assert " virtiofs ro" in seen


# In virtiofsd's place: says what it was given, whether it can write there, and what root there could make of it.
SERVER = """#!/bin/sh
echo "$@"
echo mine 2>/dev/null >"$PLACE/words" && echo "wrote"
setpriv --bounding-set=-sys_admin -- mount -o remount,bind,rw "$PLACE" 2>/dev/null && echo "made it writable"
cat "$PLACE/words"
"""


@pytest.mark.parametrize("arguments", ["-o source={},cache=auto --fd=3", "--fd=3 --shared-dir {}", "--shared-dir={}"])
def test_whoever_serves_cannot_write_either(shared: Path, arguments: str, tmp_path: Path) -> None:
    """It has a mount of its own, and the host is not changed by it; no link in its place is followed."""
    (server := tmp_path / "virtiofsd").write_text(SERVER)
    (program := tmp_path / "serve-share").write_text(sharing.PROGRAM.replace(sharing.SERVERS[0], str(server)))
    for each in (server, program):
        each.chmod(0o755)
    mounts, argv = Path("/proc/self/mounts").read_text(), arguments.format(shared).split()
    served = HOST.run(["env", f"PLACE={shared}", str(program), *argv])
    assert served.stdout == f"{' '.join(argv)}\nof the host\n"
    assert Path("/proc/self/mounts").read_text() == mounts
    (shared / "words").write_text("still writable on the host\n")

    shared.rename(moved := shared.with_name("moved"))
    shared.symlink_to(moved)
    refused = HOST.run(["env", f"PLACE={shared}", str(program), *argv], check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is not the real path of a directory" in refused.stderr
