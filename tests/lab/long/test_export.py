"""A service that leaves vmrole: as plain domains and disks, which libvirt alone starts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CommandError, let_qemu_pass
from tests.lab.harness.role import RoleDaemon
from tests.lab.shop import WEB
from tests.world.waiting import until

BOOTS_S = 300.0
NETWORK = "shop"


def test_an_exported_service_boots_without_vmrole(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """It was taken out while it ran, has what it had written by then, and its address."""
    let_qemu_pass(tmp_path / "out")
    lab.guest(WEB, ["/bin/sh", "-c", "echo kept > /marker; echo kept > /local/cache/marker; sync"])
    told = ready.run("export", "shop", str(tmp_path / "out"))
    print(told.stdout, told.stderr, (tmp_path / "out" / "README.txt").read_text())
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}
    lab.guest(WEB, ["/bin/sh", "-c", "echo later > /marker; sync"])
    [row] = ready.json("get", "instances", WEB)
    assert (row["phase"], row["boot"]) == ("serving", 2), "it went on serving"
    ready.run("delete", "service", "shop", "--wait")
    ready.run("image", "rm", "micro")
    ready.stop()
    (tmp_path / "out").chmod(0o711)
    try:
        lab.virsh("net-define", str(tmp_path / "out" / "network.xml"))
        lab.virsh("net-start", NETWORK)
        lab.virsh("define", str(tmp_path / "out" / f"{WEB}.xml"))
        lab.virsh("start", WEB)
        until(lambda: shows(lab, "cat /marker /local/cache/marker", ["kept", "kept"]), BOOTS_S, what="the guest")
        until(lambda: serves(lab, row["address"]), BOOTS_S, what="its page")
    finally:
        lab.host.run(["virsh", "destroy", WEB], check=False)
        lab.host.run(["virsh", "undefine", WEB], check=False)
        lab.host.run(["virsh", "net-destroy", NETWORK], check=False)
        lab.host.run(["virsh", "net-undefine", NETWORK], check=False)


def shows(lab: Lab, script: str, wanted: list[str]) -> bool:
    """Whether a script in the guest prints that."""
    try:
        return lab.guest(WEB, ["/bin/sh", "-c", script]).split() == wanted
    except (CommandError, AssertionError):
        return False


def serves(lab: Lab, address: str) -> bool:
    """Whether it answers at its address, as itself."""
    done = lab.host.run(["curl", "-s", "-m", "5", f"http://{address}:8080/"], check=False)
    return done.returncode == 0 and json.loads(done.stdout)["hostname"] == "web-0"
