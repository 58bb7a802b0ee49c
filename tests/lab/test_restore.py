"""A backup is restored while the daemon runs, on real virtual machines: what runs goes on; what differs is told."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import RoleDaemon, processes_naming
from tests.lab.services import SERVES_S, URL, apply, instance, mark, markers, ready, service
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures


def test_guests_and_vips_go_on_while_the_records_are_restored(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """No request is lost and no guest boots; a VM of which the backup knows nothing is ended with --yes alone."""
    apply(ready, service(1))
    mark(lab, "web-0.shop")
    file = tmp_path / "made.backup"
    ready.run("backup", str(file))
    apply(ready, service(1, name="later", vip="203.0.113.11"), wait=False)
    until(lambda: len(processes_naming("guest=web-0.later")) == 1, SERVES_S, what="a VM that is not in the backup")
    before, daemon, (qemu,) = instance(ready, "web-0.shop"), ready.pid, processes_naming("guest=web-0.shop")
    boot_id = lab.guest("web-0.shop", ["/bin/cat", "/proc/sys/kernel/random/boot_id"])

    with Load(lab.client, URL, 60.0, tmp_path / "load.json") as load:
        done = ready.run("restore", str(file))
        account = load.account()
    assert account["failed"] == 0, account
    assert int(str(account["ok"])) > 50, account
    assert "1 service" in done.stdout
    assert ready.pid == daemon

    ready.run("wait", "shop", "--for=serving", "--timeout", "600")
    after = instance(ready, "web-0.shop")
    for key in ("vm_uuid", "generation", "boot", "boot_id", "served_at_s"):
        assert after[key] == before[key], key
    assert processes_naming("guest=web-0.shop") == [qemu]
    assert lab.guest("web-0.shop", ["/bin/cat", "/proc/sys/kernel/random/boot_id"]) == boot_id
    assert markers(lab, "web-0.shop").split() == ["kept", "kept"]

    told = ready.run("verify", check=False)
    assert told.returncode == 1
    assert "DOMAIN-STRAY" in told.stdout
    assert "web-0.later" in told.stdout
    assert ready.run("verify", "--repair", check=False).returncode == 5
    assert len(processes_naming("guest=web-0.later")) == 1
    ready.run("verify", "--repair", "--yes", check=False)
    assert processes_naming("guest=web-0.later") == []
    assert {one["code"] for one in json.loads(ready.run("verify", "-o", "json", check=False).stdout)} == {
        "STORAGE-STRAY"
    }, "local storage may be wanted: it stays"
