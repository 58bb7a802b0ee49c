"""Local storage under warm reimages, again and again: writes in flight, and the plug pulled at every other one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon, processes_naming
from tests.lab.services import SERVES_S, apply, instance, ready
from tests.lab.storage_writes import FOUND, IN_FLIGHT, NAME, SERVICE, in_guest, is_whole, lost, storage_of, written
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

REIMAGES: Final = int(os.environ.get("VMROLE_WARM_REIMAGES", "100"))
LIVES_KEPT: Final = 5  # Older files are removed: the disk is a small one.


@pytest.mark.timeout(3 * 3600)
def test_local_storage_outlives_warm_reimages(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """All that the guest was told is kept is there, and the file system needs its journal and no repair."""
    apply(ready, SERVICE.format(script="true"))
    ready.run("pause", "shop")  # Nothing heals a VM whose plug is pulled before it is reimaged.
    kept: dict[str, str] = {}
    for life in range(1, REIMAGES + 1):
        old = f"local/cache/kept-{life - LIVES_KEPT}/"
        in_guest(lab, f"rm -rf /{old}; sync")
        kept = {name: digest for name, digest in kept.items() if not name.startswith(old)}
        kept |= written(lab, life)
        in_guest(lab, IN_FLIGHT)
        if life % 2:
            (qemu,) = processes_naming(f"guest={NAME}")
            os.kill(qemu, signal.SIGKILL)
            until(lambda: not processes_naming(f"guest={NAME}"), SERVES_S, what="the end of QEMU")
            assert is_whole(storage_of(ready), tmp_path), f"life {life}"
            assert not lost(storage_of(ready), tmp_path, kept), f"life {life}"
        assert f"{NAME}: warm, from its checkpoint" in ready.run("reimage", "web-0", "--wait").stderr
        found = in_guest(lab, FOUND).splitlines()
        assert found == [*(f"{digest}  {name}" for name, digest in sorted(kept.items())), "mounted"], f"life {life}"
    assert instance(ready)["generation"] == 1 + REIMAGES
    ready.run("stop", "web-0", "--wait")
    assert is_whole(storage_of(ready), tmp_path)
