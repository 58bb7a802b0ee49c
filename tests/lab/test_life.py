"""The whole product on real virtual machines: what the seed document promises, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import RoleDaemon, kill_naming, processes_naming
from tests.lab.services import SERVES_S, URL, apply, instance, mark, markers, ready, service
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures


def test_a_whole_life(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Deploy, restart, reimage under load, rebuild, delete: what survives what, no request lost, nothing left."""
    before = [image["sha256"] for image in ready.json("image", "ls")]
    apply(ready, service(2))
    assert set(answers.distinct(lab.client, URL, 2, 30.0)) == {"web-0.shop", "web-1.shop"}
    first = instance(ready)
    assert (first["generation"], first["boot"]) == (1, 2), "the setup boot, and the restart that completes setup"
    mark(lab, "web-0.shop")

    ready.run("restart", "web-0", "--wait")
    restarted = instance(ready)
    assert (restarted["generation"], restarted["boot"], restarted["vm_uuid"]) == (1, 3, first["vm_uuid"])
    assert markers(lab, "web-0.shop").split() == ["kept", "kept"]

    with Load(lab.client, URL, 60.0, tmp_path / "load.json") as load:
        ready.run("reimage", "web.shop", "--wait")
        account = load.account()
    assert account["failed"] == 0, account
    assert int(str(account["ok"])) > 500, account
    reimaged = instance(ready)
    assert (reimaged["generation"], reimaged["boot"]) == (2, 2)
    assert reimaged["vm_uuid"] != first["vm_uuid"]
    assert markers(lab, "web-0.shop").split() == ["gone", "kept"]

    ready.run("rebuild", "web-1", "--wait")
    assert markers(lab, "web-1.shop").split() == ["gone", "gone"]
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []
    assert not list(ready.run_dir.glob("discs/*/*.iso")), "an answer disc outlived its setup"

    ready.run("image", "verify", "micro")
    assert ready.run("image", "rm", "micro", check=False).returncode == 5, "an image in use cannot be deleted"
    ready.run("delete", "service", "shop", "--wait")
    assert [image["sha256"] for image in ready.json("image", "ls")] == before, "an image stays until it is deleted"
    for place in ("overlays", "storage"):
        assert not list((ready.state / "lib" / place).glob("*")), f"something is left in {place}"
    ready.run("image", "rm", "micro")
    assert ready.stop() == 0
    assert ready.files_of_instances() == []
    assert [thing for thing in lab.leftovers() if "vmrole" in thing or "shop" in thing] == []


def test_everything_may_die_at_any_time(lab: Lab, ready: RoleDaemon) -> None:
    """kill -9 of the daemon during a setup, then of HAProxy, libvirtd and QEMU: all goes on where it was."""
    apply(ready, service(1), wait=False)
    until(lambda: instance(ready)["phase"] == "setup", SERVES_S, what="the setup")
    ready.kill()
    ready.start()
    ready.run("wait", "shop", "--for=serving", "--timeout", "600")
    assert (instance(ready)["generation"], instance(ready)["boot"]) == (1, 2)
    mark(lab, "web-0.shop")

    kill_naming(str(ready.run_dir / "haproxy" / "haproxy.cfg"))
    answers.distinct(lab.client, URL, 1, 10.0)

    ready.kill()
    lab.kill_libvirtd()
    answers.distinct(lab.client, URL, 1, 5.0)
    ready.start()
    assert instance(ready)["phase"] == "serving", "without libvirtd nothing is lost"
    lab.start_libvirtd()
    answers.distinct(lab.client, URL, 1, 5.0)

    lab.host.run(["nft", "flush", "ruleset"])
    until(lambda: "nft table vmrole was removed" in ready.last_words(), SERVES_S, what="the alarm")
    until(lambda: lab.host.run(["nft", "list", "tables"]).stdout.count("vmrole") == 2, SERVES_S, what="the guards")
    answers.distinct(lab.client, URL, 1, 5.0)

    boot = instance(ready)["boot"]
    (qemu,) = processes_naming("guest=web-0.shop")
    os.kill(qemu, signal.SIGKILL)
    until(
        lambda: instance(ready)["boot"] > boot and instance(ready)["phase"] == "serving",
        SERVES_S,
        what="the VM to come back",
    )
    assert instance(ready)["generation"] == 1
    assert markers(lab, "web-0.shop").split() == ["kept", "kept"]
    answers.distinct(lab.client, URL, 1, 10.0)


def test_a_setup_that_never_ends(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Its deadline passes twice; then it has failed, says so in a sentence, and its evidence is kept."""
    text = service(1, script="sleep 100000", setup="25 s")
    apply(ready, text.replace("    setup:", "    evidence: {disk: true}\n    setup:"), wait=False)
    until(lambda: instance(ready)["phase"] == "failed", SERVES_S, what="the failure")

    found = instance(ready)
    assert found["generation"] == 2
    assert "overdue while setup" in found["failure"]
    why = ready.run("why", "web-0").stdout
    assert "It failed: overdue while setup" in why
    assert "vmrole reimage web-0.shop" in why
    first, second = ready.json("evidence", "ls", "web-0")
    assert [one["mark"].partition("-")[0] for one in (first, second)] == ["1", "2"]
    assert "overdue while setup" in first["reason"]
    assert ["disk.qcow2" in one["files"] for one in (first, second)] == [True, False], "of what was made anew"
    disk = ready.state / "lib" / "evidence" / "web-0.shop" / first["mark"] / "disk.qcow2"
    subprocess.run(["qemu-img", "check", str(disk)], check=True, stdout=subprocess.DEVNULL)
    ready.run("evidence", "get", "web-0", first["mark"], "--to", str(tmp_path / "first.tar.zst"))
    subprocess.run(["tar", "--zstd", "-xf", "first.tar.zst"], cwd=tmp_path, check=True)
    read = {one.name: one.read_bytes() for one in (tmp_path / f"web-0.shop-{first['mark']}").iterdir()}
    manifest = json.loads(read["manifest.json"])
    assert manifest["files"].keys() | {"manifest.json"} == read.keys()
    assert manifest["absent"]["screen"] == "it has no screen, only a console"
    said = {name: read[name].decode() for name in read}
    # A busy host's guest may not have been up by then, or not in time.
    if not said["journal.txt"].startswith("none: "):
        assert "Linux version" in said["journal.txt"], "what its kernel says, through the agent"
    if said["console.log"]:  # Its first line comes some seconds after its agent.
        assert "vmrole: local storage: formatted cache" in said["console.log"]
    assert "layered -> answered" in said["ledger.txt"]
    assert said["libvirt.txt"].startswith("state running")
    assert "<name>web-0.shop</name>" in said["domain.xml"]
    assert "qemu-system" in said["qemu.log"]
    assert '"local-hostname": "web-0"' in said["answers.txt"]
    assert "sleep 100000" not in said["answers.txt"]
    assert "console.log" in said
    ready.run("evidence", "rm", "web-0", first["mark"])
    assert not disk.parent.exists()
    assert ready.run("wait", "web-0", "--for=serving", "--timeout", "1", check=False).returncode != 0
    ready.run("delete", "service", "shop", "--wait")
    assert not (ready.state / "lib" / "evidence" / "web-0.shop").exists(), "what is deleted is gone, evidence too"


def test_an_agent_that_forbids_guest_exec(ready: RoleDaemon) -> None:
    """Files are enough: the instance is set up, restarted, served and restarted again without one guest-exec."""
    apply(ready, service(1, script="touch /etc/vmrole/no-exec"))
    assert instance(ready)["boot"] == 2
    ready.run("restart", "web-0", "--wait")
    assert instance(ready)["boot"] == 3


def test_libvirtd_is_not_running(lab: Lab, ready: RoleDaemon) -> None:
    """A service is accepted, says what it waits for, and comes up as soon as libvirtd does."""
    lab.kill_libvirtd()
    apply(ready, service(1), wait=False)
    until(
        lambda: "libvirtd does not answer" in instance(ready)["waiting"] + ready.last_words(),
        SERVES_S,
        what="the reason",
    )
    assert instance(ready)["phase"] != "failed"
    lab.start_libvirtd()
    ready.run("wait", "shop", "--for=serving", "--timeout", "600")


def test_two_services_share_a_host_and_nothing_else(lab: Lab, ready: RoleDaemon) -> None:
    """Names resolve within a service; a DIP is reached neither from outside nor from the other service."""
    apply(ready, service(1), wait=False)
    apply(ready, service(1, name="mall", vip="203.0.113.11"), wait=False)
    for name in ("shop", "mall"):
        ready.run("wait", name, "--for=serving", "--timeout", "600")
    shop, mall = instance(ready, "web-0.shop"), instance(ready, "web-0.mall")
    assert ready.run("why", "web-0", check=False).returncode == 5, "web-0 is the name of two instances"

    def asks(host: str, port: int) -> str:
        """What the guest of shop gets from there; "" when nothing comes."""
        command = f"printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {host} {port} | tail -n 1"
        return lab.guest("web-0.shop", ["/bin/sh", "-c", command]).strip()

    assert asks("web-0.shop", 8080) == "ok", "a name of the own service"
    assert asks("web-0", 8080) == "ok", "the short name of the own service"
    assert asks("203.0.113.11", 80) == "ok", "the public address of another service"
    assert asks(mall["address"], 8080) == "", "a DIP of another service"
    assert asks("web-0.mall", 8080) == "", "a name of another service"
    outside = lab.client.run(["ip", "route", "replace", "10.90.0.0/16", "via", lab.host_address], check=False)
    assert outside.returncode == 0
    direct = lab.client.run(["curl", "-s", "-m", "3", f"http://{shop['address']}:8080/healthz"], check=False)
    lab.client.run(["ip", "route", "del", "10.90.0.0/16"], check=False)
    assert direct.stdout == ""
