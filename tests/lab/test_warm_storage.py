"""Local storage and saved memory on real VMs: what the wrong order does to a disk, and that ours does it no harm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, ready, service
from tests.lab.storage_writes import (
    FOUND,
    IN_FLIGHT,
    NAME,
    SERVICE,
    checkpoints,
    in_guest,
    is_whole,
    lost,
    storage_of,
    written,
)

__all__ = ["ready"]  # fixtures

BUSY: Final = (
    "mkdir -p /etc/vmrole/start.d; printf '#!/bin/sh\\nsleep 9999 < /local/cache &\\n' > /etc/vmrole/start.d/app"
)
LIVES: Final = 3


def test_what_was_written_outlives_warm_reimages(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """With writes in flight at each; it is there before anybody looks at the services, as at a boot after that."""
    apply(ready, SERVICE.format(script="echo setup > /local/cache/setup"))
    assert sorted(path.name for path in checkpoints(ready).iterdir()) == ["1.memory", "1.qcow2"]
    kept: dict[str, str] = {}
    for life in range(1, LIVES + 1):
        kept |= written(lab, life)
        in_guest(lab, f"echo kept > /marker; {IN_FLIGHT}")
        assert f"{NAME}: warm, from its checkpoint" in ready.run("reimage", "web-0", "--wait").stderr
        assert in_guest(lab, f"cat /marker 2> /dev/null || echo gone; cat /local/cache/setup; {FOUND}") == "\n".join(
            ["gone", "setup", *(f"{digest}  {name}" for name, digest in sorted(kept.items())), "mounted"]
        )
    ready.run("restart", "web-0", "--wait")
    assert in_guest(lab, FOUND).endswith("mounted")
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []
    ready.run("stop", "web-0", "--wait")
    assert is_whole(storage_of(ready), tmp_path)
    assert not lost(storage_of(ready), tmp_path, kept)


def test_the_wrong_order_loses_what_was_kept(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Memory that was saved with the disk mounted, by hand and past the product: so the danger is real."""
    apply(ready, service())
    ready.kill()
    in_guest(lab, "mkdir /local/cache/kept-1; ls -lR /local/cache")
    overlay = next((ready.state / "lib" / "overlays").rglob("*.qcow2"))
    memory, before = tmp_path / "memory", tmp_path / "overlay"
    lab.virsh("save", NAME, str(memory), "--running")
    shutil.copyfile(overlay, before)
    lab.virsh("restore", str(memory), "--running")
    kept = written(lab, 1)
    in_guest(lab, "umount /local/cache")
    assert not lost(storage_of(ready), tmp_path, kept)
    for life in (2, 3):
        lab.virsh("destroy", NAME)
        shutil.copyfile(before, overlay)
        lab.virsh("restore", str(memory), "--running")
        kept |= written(lab, life)
    lab.virsh("destroy", NAME)
    assert lost(storage_of(ready), tmp_path, kept), "nothing was lost: what is it all for?"


def test_storage_that_is_in_use_is_booted_with(lab: Lab, ready: RoleDaemon) -> None:
    """Nothing is torn out of a guest: its disk alone is kept, and why says who uses it."""
    apply(ready, SERVICE.format(script=f"{BUSY}; chmod 755 /etc/vmrole/start.d/app"))
    assert [path.name for path in checkpoints(ready).iterdir()] == ["1.qcow2"]
    kept = written(lab, 1)
    busy = "/local/cache is busy; by: sleep"
    said = ready.run("reimage", "web-0", "--wait").stderr
    assert f"{NAME}: prepared, a boot from its checkpoint: its checkpoint has no memory: {busy}" in said
    assert busy in ready.run("why", "web-0").stdout
    assert instance(ready)["boot"] == 3
    found = in_guest(lab, FOUND)
    assert found == "\n".join([*(f"{digest}  {name}" for name, digest in sorted(kept.items())), "mounted"])
