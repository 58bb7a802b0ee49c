"""Leases on real virtual machines: what a client leaves is gone before anybody gets it, whatever became of him."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import VMROLE, RoleDaemon
from tests.lab.shop import WEB
from tests.world.waiting import until

COMES_S = 900.0


def instance(daemon: RoleDaemon) -> dict[str, Any]:
    """As the API shows it."""
    found: dict[str, Any] = daemon.json("get", "instances", WEB)[0]
    return found


def generation_of(daemon: RoleDaemon) -> int:
    """Of the one instance."""
    found: int = instance(daemon)["generation"]
    return found


def serves_as(daemon: RoleDaemon, generation: int) -> None:
    """Waits until it is that generation that serves."""
    until(
        lambda: (instance(daemon)["generation"], instance(daemon)["phase"]) == (generation, "serving"),
        COMES_S,
        what=f"generation {generation}",
    )


def client(lab: Lab, daemon: RoleDaemon, script: str) -> subprocess.Popen[str]:
    """One who leases the instance for a script."""
    words = ["env", *(f"{key}={value}" for key, value in daemon.environment.items()), VMROLE]
    return lab.host.popen([*words, "lease", "shop", "--for", "30m", "--", "/bin/sh", "-c", script])


def test_what_a_client_leaves_is_gone(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Two clients for one instance, in order; each finds it new, and afterwards it serves as nobody has left it.

    The first is killed without a word while the daemon is, too: his lease ends when nothing is heard of him.
    """
    marked, go = tmp_path / "marked", tmp_path / "go"
    write = f'{VMROLE} exec "$VMROLE_INSTANCE" /bin/sh -c "ls /marker || echo mine > /marker" > {marked}.new 2>&1'
    first = client(lab, ready, f"{write}; mv {marked}.new {marked}; while ! [ -e {go} ]; do sleep 1; done")
    until(marked.exists, COMES_S, what="the first client's file")
    assert "No such file" in marked.read_text(), marked.read_text()
    assert lab.guest(WEB, ["/bin/cat", "/marker"]).strip() == "mine"
    assert instance(ready)["phase"] == "leased"

    second = client(lab, ready, f"{VMROLE} exec $VMROLE_INSTANCE /bin/ls / > {tmp_path}/seen; touch {go}; exit 7")
    until(lambda: len(ready.json("lease", "ls")) == 2, COMES_S, what="the second client")
    assert [row["place"] for row in ready.json("lease", "ls")] == [0, 1]
    refused = ready.run("reimage", WEB, check=False)
    assert (refused.returncode, "vmrole lease end lease-" in refused.stderr) == (5, True), refused.stderr

    ready.kill()
    ready.start()
    assert instance(ready)["phase"] == "leased"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until(go.exists, COMES_S, what="the second client's turn")
    second.communicate(timeout=COMES_S)
    assert second.returncode == 7
    assert "marker" not in (tmp_path / "seen").read_text().split()
    serves_as(ready, 3)
    assert ready.json("lease", "ls") == []
    assert "marker" not in lab.guest(WEB, ["/bin/ls", "/"]).split()


def test_without_command_it_is_kept_until_a_word(lab: Lab, ready: RoleDaemon) -> None:
    """And a client who shuts it down is healed by nobody."""
    lease = ready.run("lease", "shop", "--for", "30m", "--json").stdout
    assert f'"instance": "{WEB}"' in lease
    (row,) = ready.json("lease", "ls")
    os.kill(int(Path(f"/run/libvirt/qemu/{WEB}.pid").read_text()), signal.SIGKILL)
    until(lambda: lab.virsh("domstate", WEB).strip() == "shut off", COMES_S, what="the VM's end")
    assert (instance(ready)["phase"], generation_of(ready)) == ("leased", 1)
    ready.run("lease", "end", row["id"])
    serves_as(ready, 2)
