"""`vmrole export`: what it writes, by libvirt's own schema and qemu-img, of VMs that a test has described."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from orchestrator.control import records
from orchestrator.model import Instance, Phase
from tests.world.api_daemon import SECRET, SHOP, Daemon
from tests.world.command_line import VMROLE, Run
from tests.world.places import GOLDEN_FILES
from tests.world.waiting import until

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
STATE, RUN = "/var/lib/vmrole", "/run/vmrole"
NETWORK = """<network>
  <name>vmrole-shop</name>
  <uuid>aae4e209-93b3-5a0a-8bd5-ba1f7c1ff1c8</uuid>
  <metadata><vmrole:network xmlns:vmrole="https://vmrole.dev/network/1" service="shop"/></metadata>
  <forward mode="open"/>
  <bridge name="vr-shop" stp="off" delay="0"/>
  <mac address="52:54:00:00:00:01"/>
  <domain name="shop" localOnly="yes"/>
  <ip address="10.90.0.1" prefix="24"><dhcp><host mac="52:54:00:12:34:56" name="web-0" ip="10.90.0.10"/></dhcp></ip>
</network>
"""
VIRSH = """
import pathlib, subprocess, sys, xml.etree.ElementTree as tree
place, words = pathlib.Path(PLACE), sys.argv[3:]
(place / "calls").open("a").write(" ".join(words[:2]) + "\\n")
if (place / f"no-{words[0]}").exists():
    sys.exit("error: no " + words[0])
if words[0] in ("dumpxml", "net-dumpxml"):
    print((place / f"{words[-1]}.xml").read_text())
if words[0] == "backup-begin":
    disks = tree.parse(place / f"{words[1]}.xml").findall("devices/disk")
    here = {disk.find("target").get("dev"): disk for disk in disks}
    assert {disk.get("name") for disk in tree.parse(words[2]).iter("disk")} == set(here)
    for disk in tree.parse(words[2]).findall("disks/disk[@backup='yes']"):
        source, form = here[disk.get("name")].find("source"), here[disk.get("name")].find("driver").get("type")
        target = disk.find("target").get("file")
        argv = ["qemu-img", "convert", "-f", form, "-O", "qcow2", source.get("file"), target]
        subprocess.run(argv, check=True)
if words[0] == "domjobinfo":
    print("Job type:         " + ("Completed" if "--completed" in words else "None"))
"""
KINDS = ("setup-tcg", "local-storage", "linux-uefi-nvme")


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with the service `shop`, whose three instances are off."""
    daemon.client().apply(SHOP)
    for one in daemon.present.all(Instance):
        goal = dataclasses.replace(one.goal, halts=1)
        off = dataclasses.replace(one, goal=goal, phase=Phase.STOPPED, set_up=True)
        daemon.present.commit([records.put_wish(off), records.put_state(off)])
    return daemon


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files lie that the golden domains name, with a virsh that prints those, and copies their disks."""
    state = tmp_path / "state"
    programs = tmp_path / "bin"
    programs.mkdir()
    for number, kind in enumerate(KINDS):
        text = (GOLDEN_FILES / "domain" / f"{kind}.xml").read_text()
        text = text.replace(STATE, str(state)).replace(RUN, str(tmp_path / "run"))
        (tmp_path / f"web-{number}.shop.xml").write_text(text.replace("web-0.shop", f"web-{number}.shop"))
        lay(etree.fromstring((tmp_path / f"web-{number}.shop.xml").read_bytes()))
    (tmp_path / "vmrole-shop.xml").write_text(NETWORK)
    (programs / "virsh").write_text(f"#!{sys.executable}\nPLACE = {str(tmp_path)!r}\n{VIRSH}")
    (programs / "virsh").chmod(0o755)
    config = tmp_path / "vmrole.toml"
    config.write_text(f'vip_interface = "lo"\nstate_dir = "{state}"\n')
    monkeypatch.setenv("VMROLE_CONFIG", str(config))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for directory in (tmp_path, *tmp_path.parents):  # QEMU's user gets through, as on a host
        if not directory.stat().st_mode & 0o001:
            directory.chmod(0o711)
    return state


def lay(domain: etree._Element) -> None:
    """Makes the disks that a domain names, each layer with something of its own."""
    for disk in domain.findall("devices/disk[@device='disk']"):
        source, driver = disk.find("source"), disk.find("driver")
        assert source is not None
        assert driver is not None
        path, under = Path(source.get("file", "")), disk.find("backingStore/source")
        path.parent.mkdir(parents=True, exist_ok=True)
        base: list[str] = []
        if under is not None:
            image = Path(under.get("file", ""))
            image.parent.mkdir(parents=True, exist_ok=True)
            kind = disk.find("backingStore/format").get("type", "")  # type: ignore[union-attr]
            if not image.exists():
                qemu("qemu-img", "create", "-q", "-f", kind, str(image), "1M")
                qemu("qemu-io", "-f", kind, "-c", "write -q -P 7 0 64k", str(image))
            base = ["-b", str(image), "-F", kind]
        qemu("qemu-img", "create", "-q", "-f", driver.get("type", ""), *base, str(path), *([] if base else ["1M"]))
        qemu("qemu-io", "-f", driver.get("type", ""), "-c", "write -q -P 9 128k 64k", str(path))
    nvram = domain.find("os/nvram")
    if nvram is not None and nvram.text:
        Path(nvram.text).parent.mkdir(parents=True, exist_ok=True)
        Path(nvram.text).write_bytes(b"variables")


def is_kept(disk: etree._Element) -> bool:
    """Whether it is no answer disc."""
    return disk.find("readonly") is None


def domain_uuid(text: str) -> str | None:
    """By which the guest knows its machine."""
    return etree.fromstring(text).findtext("uuid")


def qemu(*words: str) -> str:
    """Runs a program of QEMU's."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_domains_and_disks_stand_alone(run: Run, state: Path, tmp_path: Path, daemon: Daemon) -> None:
    """By libvirt's schema, and with nothing of ours in them; each disk is its chain in one file; all are root's."""
    for file in state.rglob("*"):
        if file.is_file():
            file.chmod(0o444)
    target = tmp_path / "out"
    status, out, err = run("export", "shop", target)
    assert (status, err) == (0, "")
    assert out.count("\n") == len([*target.iterdir()])
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    for number in range(len(KINDS)):
        text = (target / f"web-{number}.shop.xml").read_text()
        assert "vmrole" not in text.replace(str(tmp_path), "")
        assert domain_uuid(text) == domain_uuid((tmp_path / f"web-{number}.shop.xml").read_text())
        assert str(state) not in text
        domain = etree.fromstring(text)
        assert schema.validate(domain), schema.error_log
        before = etree.parse(tmp_path / f"web-{number}.shop.xml")
        assert domain.findtext("name") == f"web-{number}.shop"
        assert domain.find("devices/interface/mac").get("address") == (  # type: ignore[union-attr]
            before.find("devices/interface/mac").get("address")  # type: ignore[union-attr]
        )
        disks = domain.findall("devices/disk[@device='disk']/source")
        former = [one.find("source") for one in before.iterfind("devices/disk[@device='disk']") if is_kept(one)]
        assert disks
        for disk, old in zip(disks, former, strict=True):
            path = disk.get("file", "")
            assert Path(path).parent == target
            assert old is not None
            assert "backing file" not in qemu("qemu-img", "info", path)
            qemu("qemu-img", "compare", "-q", path, old.get("file", ""))
    assert (target / "web-2.shop.nvram.fd").read_bytes() == b"variables"
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}
    assert target.stat().st_mode & 0o777 == 0o700
    assert "Not here: the virtual address" in (target / "README.txt").read_text()
    assert SECRET not in "".join(path.read_text() for path in target.iterdir() if path.suffix != ".qcow2")
    assert "- userData" in (target / "service.yaml").read_text()


def test_the_network_is_plain(run: Run, state: Path, tmp_path: Path, daemon: Daemon) -> None:
    """By libvirt's schema, under a name that is not ours, with the reservations; its domains are on it."""
    assert run("export", "shop", tmp_path / "out")[0] == 0
    text = (tmp_path / "out" / "network.xml").read_text()
    assert "vmrole" not in text
    network = etree.fromstring(text)
    schema = etree.RelaxNG(etree.parse(SCHEMA.with_name("network.rng")))
    assert schema.validate(network), schema.error_log
    assert (network.findtext("name"), network.find("ip/dhcp/host").get("ip")) == ("shop", "10.90.0.10")  # type: ignore[union-attr]
    domain = etree.parse(tmp_path / "out" / "web-0.shop.xml")
    assert domain.find("devices/interface/source").get("network") == "shop"  # type: ignore[union-attr]


def set_phase(daemon: Daemon, phase: Phase) -> None:
    """That of all of them, who were not asked to be off."""
    for each in daemon.present.all(Instance):
        goal = dataclasses.replace(each.goal, halts=0)
        there = dataclasses.replace(each, goal=goal, phase=phase)
        daemon.present.commit([records.put_wish(there), records.put_state(there)])


def test_what_runs_is_copied_by_its_qemu(run: Run, state: Path, tmp_path: Path, daemon: Daemon) -> None:
    """While its agent holds its file systems still; else that is said. They are let go in any case."""
    set_phase(daemon, Phase.SERVING)
    assert run("export", "shop", tmp_path / "out")[0] == 0
    assert "web-1.shop: it ran; its file systems stood still" in (tmp_path / "out" / "README.txt").read_text()
    calls = (tmp_path / "calls").read_text().splitlines()
    begun = [call.split()[0] for call in calls if call.endswith("web-1.shop")]
    assert begun == ["domfsfreeze", "backup-begin", "domfsthaw", "domjobinfo", "domjobinfo"]
    qemu(
        "qemu-img",
        "compare",
        "-q",
        str(tmp_path / "out" / "web-1.shop.vdb.qcow2"),
        str(state / "storage" / "web-1.shop" / "data-0.raw"),
    )
    (tmp_path / "no-domfsfreeze").touch()
    assert run("export", "shop", tmp_path / "out2")[0] == 0
    assert "web-1.shop: it ran; as after a power cut" in (tmp_path / "out2" / "README.txt").read_text()
    (tmp_path / "no-backup-begin").touch()
    (tmp_path / "no-domfsfreeze").unlink()
    status, _, err = run("export", "shop", tmp_path / "out3")
    assert (status, "vmrole stop web-0.shop" in err) == (5, True)
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "domfsthaw web-0.shop"
    assert not [path.name for path in tmp_path.iterdir() if "out3" in path.name]


def test_what_is_on_its_way_is_waited_for(run: Run, state: Path, tmp_path: Path, daemon: Daemon) -> None:
    """Nothing is begun; so it is where layers are asked for of what runs."""
    set_phase(daemon, Phase.SETUP)
    status, _, err = run("export", "shop", tmp_path / "out")
    assert (status, "vmrole stop shop --wait" in err) == (5, True)
    set_phase(daemon, Phase.SERVING)
    assert run("export", "shop", tmp_path / "out", "--layers")[0] == 5
    assert not (tmp_path / "out").exists()


def test_layers_lie_above_a_copy_of_their_image(run: Run, state: Path, tmp_path: Path) -> None:
    """One for all, and beside them also when they have been moved."""
    assert run("export", "shop", tmp_path / "out", "--layers")[0] == 0
    (tmp_path / "out").rename(tmp_path / "moved")
    info = json.loads(qemu("qemu-img", "info", "--output=json", str(tmp_path / "moved" / "web-0.shop.vda.qcow2")))
    assert info["backing-filename"] == "base-0.qcow2"
    [former] = (state / "overlays" / "web-0.shop").iterdir()
    qemu("qemu-img", "compare", "-q", str(tmp_path / "moved" / "web-0.shop.vda.qcow2"), str(former))
    assert "base-*.qcow2" in (tmp_path / "moved" / "README.txt").read_text()


def test_there_is_room_or_nothing(run: Run, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would not fit is not begun."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    status, _, err = run("export", "shop", tmp_path / "out")
    assert (status, "make room" in err) == (1, True)
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(
    state: Path, tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    """Its job ends, and so does what runs for it."""
    set_phase(daemon, Phase.SERVING)
    monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))
    text = (tmp_path / "bin" / "virsh").read_text()
    (tmp_path / "bin" / "virsh").write_text(text.replace('else "None"', 'else "Unbounded"'))
    calls = tmp_path / "calls"
    with subprocess.Popen([*VMROLE, "export", "shop", str(tmp_path / "out")], stderr=subprocess.DEVNULL) as process:
        until(lambda: calls.exists() and "domjobinfo" in calls.read_text(), 60.0, what="the copy")
        process.send_signal(ending)
        assert process.wait(60.0) == 130
    assert calls.read_text().splitlines()[-1] == "domjobabort web-0.shop"
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]


def test_it_is_roots(run: Run, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of the daemon's group reaches no disk, and gets nothing written anywhere."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, _, err = run("export", "shop", tmp_path / "out")
    assert (status, "sudo vmrole export" in err) == (6, True)
    assert not (tmp_path / "calls").exists()


def test_qemu_has_to_get_through(run: Run, state: Path, tmp_path: Path, daemon: Daemon) -> None:
    """To where it shall write; what is off root reads alone."""
    (tmp_path / "closed").mkdir(mode=0o700)
    assert run("export", "shop", tmp_path / "closed" / "out")[0] == 0
    set_phase(daemon, Phase.SERVING)
    status, _, err = run("export", "shop", tmp_path / "closed" / "out2")
    assert (status, "lets QEMU's user not through" in err) == (2, True)


def test_a_directory_with_something_in_it_is_left_alone(run: Run, state: Path, tmp_path: Path) -> None:
    """Also one that cannot be made."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    status, _, err = run("export", "shop", tmp_path / "out")
    assert (status, "is left alone" in err) == (2, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    assert run("export", "shop", tmp_path / "none" / "out")[0] == 2
    assert run("export", "mall", tmp_path / "new")[0] == 3


def test_a_disk_that_cannot_be_read_is_told(run: Run, state: Path, tmp_path: Path) -> None:
    """With what qemu-img said of it."""
    for file in state.glob("overlays/web-0.shop/*"):
        file.unlink()
    status, _, err = run("export", "shop", tmp_path / "out")
    assert status == 1
    assert "No such file" in err
