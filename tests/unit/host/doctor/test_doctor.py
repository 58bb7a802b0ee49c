"""Each check of the doctor fails where it should, and says what to do; programs are scripts that behave as told."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.disks.blobs import HEAD_BYTES, BlobDirectory
from orchestrator.drivers.hypervisor import accelerator, firmwares, probe_domain
from orchestrator.drivers.hypervisor.probe_domain import Rights
from orchestrator.drivers.tools.layout import Layout
from orchestrator.host import doctor
from orchestrator.host.config import Config
from orchestrator.host.doctor import (
    Check,
    Verdict,
    confinement,
    consoles,
    firmware,
    host,
    libvirt_log,
    pci,
    programs,
    reach,
    room,
    rulesets,
    shares,
)
from orchestrator.model.blob import Blob, BlobOwner, BlobPut, Of
from orchestrator.model.pci import PciDevice, PciLook
from tests.world.places import REPOSITORY

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a script before all other programs on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def write(name: str, script: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o700)

    return write


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """A configuration whose directories exist and are small enough to name."""
    for name in ("state", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    return Config(state_dir=tmp_path / "state", run_dir=tmp_path / "run", socket=tmp_path / "run" / "vmrole.sock")


def failed(check: Check) -> bool:
    """A verdict other than PASS comes with a remedy, which a reader needs."""
    assert check.verdict is Verdict.PASS or check.remedy or check.name == "qemu-img", check
    return check.verdict is Verdict.FAIL


def test_every_check_comes_once_whatever_happens(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that ends in an error is a FAIL, and the ones after it are made; all are plain text for JSON."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(accelerator, "EMULATOR", Path("/nonexistent/qemu"))
    found = doctor.checks(settings)
    assert [check.name for check in found] == [name for name, _ in doctor.CHECKS]
    verdicts = {check.name: check.verdict for check in found}
    for name in ("qemu", "accelerator", "haproxy", "dnsmasq", "nftables", "devices", "qemu-img"):
        assert verdicts[name] is Verdict.FAIL, name
    json.dumps([(check.name, check.verdict, check.message, check.remedy) for check in found])


def test_a_broken_configuration_is_told_and_the_rest_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Program
) -> None:
    """An unknown key fails its own check only."""
    (tmp_path / "vmrole.toml").write_text("vip_interfaec = 'eth0'\n")
    monkeypatch.setenv("VMROLE_CONFIG", str(tmp_path / "vmrole.toml"))
    monkeypatch.setattr(doctor, "CHECKS", doctor.CHECKS[:1])
    found = doctor.checks()
    assert [check.name for check in found] == ["configuration", "root"]
    assert failed(found[0])
    assert "vip_interface" in found[0].remedy


@pytest.mark.parametrize(
    ("check", "name", "old", "new"),
    [
        (programs.haproxy, "haproxy", "HAProxy version 2.4.22-0ubuntu0", "HAProxy version 2.6.0 2022/05/31"),
        (programs.haproxy, "haproxy", "something else", "HAProxy version 3.0.1 2024/06/10"),
        (programs.dnsmasq, "dnsmasq", "Dnsmasq version 2.60  Copyright", "Dnsmasq version 2.90  Copyright"),
    ],
)
def test_versions_are_compared_as_numbers(
    settings: Config, program: Program, check: Callable[[Config], Check], name: str, old: str, new: str
) -> None:
    """Too old, unreadable and failing programs are a FAIL; new enough ones a PASS."""
    program(name, f"echo '{old}'")
    assert failed(check(settings))
    program(name, f"echo '{new}'")
    assert check(settings).verdict is Verdict.PASS


def test_haproxy_must_take_what_we_write(settings: Config, program: Program) -> None:
    """The real one does; one that was built without something that we need fails with its own words."""
    deep = settings.run_dir / ("deep-" * 16)  # longer than a socket's path may be
    deep.mkdir()
    assert programs.haproxy(dataclasses.replace(settings, run_dir=deep)).verdict is Verdict.PASS
    deep.rmdir()
    program(
        "haproxy", 'if [ "$1" = -v ]; then echo "HAProxy version 2.6.0"; else echo "unknown keyword" >&2; exit 1; fi'
    )
    check = programs.haproxy(settings)
    assert failed(check)
    assert "unknown keyword" in check.message
    assert list(settings.run_dir.iterdir()) == []


def test_qemu_img_must_heed_locks(settings: Config, program: Program) -> None:
    """Real qemu-img passes; one that ignores the lock of another writer fails, and nothing is left behind."""
    assert programs.qemu_img(settings).verdict is Verdict.PASS
    program(
        "qemu-img", 'if [ "$1" = create ]; then for file; do case "$file" in *.qcow2) : > "$file";; esac; done; fi'
    )
    check = programs.qemu_img(settings)
    assert failed(check)
    assert "two VMs could write one disk" in check.message
    assert list(settings.state_dir.iterdir()) == []


def test_the_accelerator_is_told_with_its_evidence(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """KVM passes, TCG warns, and a configuration that insists on a KVM that does not work fails."""
    in_kvm = accelerator.Choice(accelerator=accelerator.Accelerator.KVM, because="a guest boots in KVM")
    in_tcg = accelerator.Choice(accelerator=accelerator.Accelerator.TCG, because="it hangs", evidence="15 s")

    def verdict(wish: str, choice: accelerator.Choice) -> Verdict:
        monkeypatch.setattr(accelerator, "choose", lambda *_, **__: choice)
        chosen = Config(state_dir=settings.state_dir, accelerator=wish)
        check = programs.accelerator(chosen)
        assert wish == "tcg" or choice.because in check.message
        return check.verdict

    assert verdict("auto", in_kvm) is Verdict.PASS
    assert verdict("auto", in_tcg) is Verdict.WARN
    assert verdict("kvm", in_tcg) is Verdict.FAIL
    assert verdict("tcg", in_tcg) is Verdict.PASS


def test_libvirt_that_is_away_is_a_fail(settings: Config) -> None:
    """The message is libvirt's own, on one line, and the remedy starts the daemon, or the modular ones."""
    away = Config(libvirt_uri="qemu+unix:///system?socket=/nonexistent/libvirt-sock")
    check = programs.libvirt(away)
    assert failed(check)
    assert "/nonexistent/libvirt-sock" in check.message
    assert "Traceback" not in check.message
    assert "start libvirtd" in check.remedy
    assert "virtqemud.socket" in check.remedy


def test_libvirt_of_the_test_driver_answers(settings: Config) -> None:
    """libvirt's own test driver answers at test:///default."""
    assert programs.libvirt(Config(libvirt_uri="test:///default")).verdict is Verdict.PASS


def test_directories(settings: Config, tmp_path: Path) -> None:
    """A state directory that others may write and a run directory too long for sockets fail; absent ones come."""
    assert host.state_dir(settings).verdict in (Verdict.PASS, Verdict.WARN)
    settings.state_dir.chmod(0o777)
    assert failed(host.state_dir(settings))
    absent = Config(state_dir=tmp_path / "a" / "b", run_dir=tmp_path / "c", socket=tmp_path / "s")
    assert "will be made" in host.run_dir(absent).message
    assert not (tmp_path / "a").exists()
    assert failed(host.run_dir(Config(run_dir=Path("/run/" + "x" * 90))))


@pytest.mark.parametrize("below", [".", "a/b"])
def test_a_file_is_no_directory(tmp_path: Path, below: str) -> None:
    """Where a directory is to be, or above it: said as that, executable or not."""
    file = tmp_path / "file"
    file.touch(mode=0o755)
    place = Config(state_dir=file / below, run_dir=file / below, secrets_dir=file)
    for look in (host.state_dir, host.run_dir, host.secrets_dir):
        check = look(place)
        assert failed(check)
        assert check.message == f"{file} is no directory"
        assert "another place" in check.remedy


def test_who_is_sent_here_is_not_sent_here_again(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there says to ask the doctor: he says what to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    check = doctor._told("vip interface", host.vip_interface, settings)
    assert (check.verdict, check.message) == (Verdict.FAIL, "ip: no such command")
    assert "vmrole doctor" not in check.remedy
    assert "provision.sh host" in check.remedy


def test_the_vip_interface(settings: Config, program: Program) -> None:
    """None, an absent one, a service's and one with a long name fail, naming what could be. One that is down warns,
    and those by which nobody comes: the host's own, and a part of another.
    """
    links = [
        {"ifname": "lo", "flags": ["LOOPBACK", "UP"]},
        {"ifname": "eth0", "flags": ["UP"]},
        {"ifname": "eth1", "flags": []},
        {"ifname": "vrb-0123456789", "flags": ["UP"]},
        {"ifname": "wlan123456789", "flags": ["UP"]},
        {"ifname": "eth2", "flags": ["UP"], "master": "br0", "linkinfo": {"info_slave_kind": "bridge"}},
        {"ifname": "eth3", "flags": ["UP"], "master": "vrf0", "linkinfo": {"info_slave_kind": "vrf"}},
    ]
    program("ip", f"echo '{json.dumps(links)}'")

    def check(interface: str) -> Check:
        return host.vip_interface(Config(vip_interface=interface))

    for wrong in ("", "eth7", "wlan123456789", "vrb-0123456789"):
        assert failed(check(wrong))
        assert check(wrong).remedy.endswith("to one of: eth0, eth1, eth2, eth3")
    for name, word in (("lo", "nobody but this host"), ("eth2", "a port of br0")):
        assert check(name).verdict is Verdict.WARN
        assert word in check(name).message
    assert check("eth2").remedy.endswith("to br0")
    assert check("eth3").verdict is Verdict.PASS
    assert check("et0").remedy.startswith("did you mean eth0? ")
    assert check("eth1").verdict is Verdict.WARN
    assert check("eth0").verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("route", "verdict"),
    [
        ({"dst": "default", "dev": "eth0"}, Verdict.PASS),
        ({"dst": "10.90.3.0/24", "dev": "vrb-0123456789"}, Verdict.PASS),
        ({"dst": "10.0.0.0/8", "dev": "eth0"}, Verdict.FAIL),
        ({"dst": "10.90.7.7", "dev": "tun0"}, Verdict.WARN),
        ({"dst": "192.168.0.0/16", "dev": "eth0"}, Verdict.PASS),
    ],
)
def test_the_network_pool(settings: Config, program: Program, route: dict[str, str], verdict: Verdict) -> None:
    """A route that is not ours and leaves nothing of the pool fails; one that leaves some is told."""
    program("ip", f"echo '{json.dumps([route])}'")
    assert host.network_pool(settings).verdict is verdict


@pytest.mark.parametrize(
    ("route", "server", "allow", "words"),
    [
        ({"dst": "192.168.1.0/24", "dev": "eth0"}, "203.0.113.1", (), ("192.168.1.0/24 on eth0",)),
        ({"dst": "10.0.0.0/8", "dev": "tun0"}, "203.0.113.1", (), ("10.0.0.0/8 on tun0",)),
        ({"dst": "203.0.113.0/24", "dev": "eth0"}, "192.168.1.1", (), ("192.168.1.1, this host's name server",)),
        ({"dst": "192.168.1.0/24", "dev": "eth0"}, "192.168.1.1", ("192.168.1.1",), ()),
        ({"dst": "192.168.1.0/24", "dev": "eth0"}, "127.0.0.53", ("192.168.0.0/16",), ()),
        ({"dst": "0.0.0.0/1", "dev": "tun0"}, "203.0.113.1", (), ()),
        ({"dst": "default", "dev": "eth0"}, "203.0.113.1", (), ()),
        ({"dst": "10.90.3.0/24", "dev": "vrb-0123456789"}, "203.0.113.1", (), ()),
    ],
)
def test_a_network_of_the_host_that_guests_do_not_reach_is_told(
    settings: Config,
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    route: dict[str, str],
    server: str,
    allow: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    """Its own network, or its name server's: unless somebody has made an exception of any of it."""
    program("ip", f"echo '{json.dumps([route])}'")
    (tmp_path / "resolv.conf").write_text(f"search example\nnameserver {server}\nnameserver 2001:db8::1\n")
    monkeypatch.setattr(host, "_RESOLVERS", (tmp_path / "resolv.conf", tmp_path / "absent"))
    told = host.egress(replace(settings, egress_allow=allow))
    assert told.verdict is (Verdict.WARN if words else Verdict.PASS)
    assert not failed(told)
    assert all(word in told.message for word in words)


UFW = """table ip filter {
  chain INPUT {
    type filter hook input priority filter;
    policy drop;
    counter jump ufw-before-input
    jump ufw-track
  }
  chain FORWARD {
    type filter hook forward priority filter;
    policy drop;
    ct state related,established accept
  }
  chain ufw-before-input {
    iif "lo" accept
    ct state related,established accept
  }
  chain ufw-track {
    counter return
    drop
  }
}
table inet vmrole { chain forward { type filter hook forward priority 0; policy drop; }; }
table ip6 filter { chain INPUT { type filter hook input priority 0; policy drop; }; }
"""
FIREWALLD = """table inet firewalld {
  chain filter_INPUT {
    type filter hook input priority filter + 10;
    policy accept;
    ct state established accept
    jump zones
    counter log reject with icmpx admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10;
    policy accept;
    goto refusing
  }
  chain zones {
    tcp dport 22 accept
    return
  }
  chain refusing {
    iif "lo" accept
    reject with icmpx admin-prohibited
  }
}
table ip harmless {
  chain INPUT {
    type filter hook input priority 0;
    policy drop;
    tcp dport 22 drop
    counter jump letting
  }
  chain FORWARD {
    type filter hook forward priority 0;
    policy accept;
    ip saddr 192.0.2.7 drop
  }
  chain letting {
    accept
  }
}
"""


def ruleset(text: str) -> list[dict[str, object]]:
    """The rule set as nft lists it, loaded in a namespace that goes again."""
    script = f"nft -f - <<'EOF'\n{text}\nEOF\nnft -j list ruleset"
    done = subprocess.run(["unshare", "-rn", "sh", "-ec", script], capture_output=True, text=True, check=True)
    listed: list[dict[str, object]] = json.loads(done.stdout)["nftables"]
    return listed


def test_closed_chains_are_named_with_why() -> None:
    """A policy or an end that nothing escapes; not a condition, nor what accepts before, other families or ours."""
    ufw = rulesets.closed(ruleset(UFW))
    assert [(one.hook, one.name) for one in ufw] == [
        ("input", "nft chain ip filter INPUT (of ufw), whose policy is drop"),
        ("forward", "nft chain ip filter FORWARD (of ufw), whose policy is drop"),
    ]
    firewalld = rulesets.closed(ruleset(FIREWALLD))
    assert [(one.hook, one.name) for one in firewalld] == [
        ("input", "nft chain inet firewalld filter_INPUT, which ends in reject"),
        ("forward", "nft chain inet firewalld filter_FORWARD, which ends in reject"),
    ]
    lines = ["-P INPUT ACCEPT", "-P FORWARD DROP", "-N REFUSE", "-A INPUT -i lo -j ACCEPT", "-A INPUT -j REFUSE"]
    legacy = rulesets.closed_legacy([*lines, "-A REFUSE -j REJECT --reject-with icmp-port-unreachable"])
    assert [one.name for one in legacy] == [
        "iptables-legacy chain INPUT, which ends in reject",
        "iptables-legacy chain FORWARD, whose policy is drop",
    ]
    assert "ufw route allow from 10.90.0.0/16" in rulesets.remedy(ufw, "10.90.0.0/16", "eth0")
    assert "--add-source=10.90.0.0/16" in rulesets.remedy(firewalld, "10.90.0.0/16", "eth0")
    assert "vrb-*" in rulesets.remedy(legacy, "10.90.0.0/16", "eth0")


def test_memory_and_group(settings: Config) -> None:
    """A host without memory for one instance fails; a missing group only warns, with the command that makes it."""
    assert failed(room.memory(Config(memory_reserve_mib=1 << 30)))
    assert room.memory(Config(memory_reserve_mib=0)).verdict is Verdict.PASS
    check = host.socket_group(Config(socket_group="no-such-group"))
    assert (check.verdict, check.remedy) == (Verdict.WARN, "groupadd --system no-such-group")
    assert host.socket_group(Config(socket_group="root")).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("run", "swap_mib", "verdict"),
    [("1", 0, Verdict.PASS), ("0", 0, Verdict.WARN), ("0", 512, Verdict.PASS), ("", 511, Verdict.WARN)],
)
def test_memory_that_is_promised_twice_needs_something_behind_it(
    tmp_path: Path, run: str, swap_mib: int, verdict: Verdict
) -> None:
    """Pages that are kept once, or as much swap; where there is neither the remedy is a command, also without KSM."""
    if run:
        (tmp_path / "run").write_text(f"{run}\n")
        (tmp_path / "pages_sharing").write_text("5120\n")
    check = room.judge_overcommit("1024 MiB for instances", 150, 1024, tmp_path, 4096, swap_mib)
    assert check.verdict is verdict
    assert ("KSM is on and saves 20 MiB" if run == "1" else "KSM is off") in check.message
    assert f"swap has {swap_mib} MiB" in check.message
    assert "150 %" in check.message
    assert ("512 MiB of swap" in check.remedy) == (verdict is Verdict.WARN)


def test_what_is_promised_of_memory_is_told(settings: Config) -> None:
    """Of a host that promises nothing twice nobody asks for KSM."""
    assert "%" not in room.memory(Config(memory_reserve_mib=0)).message
    assert "200 %" in room.memory(Config(memory_reserve_mib=0, memory_overcommit_percent=200)).message


def test_huge_pages_are_told(settings: Config) -> None:
    """A host without any is as well as others; how they are reserved is said."""
    assert room.huge_pages(settings).verdict is Verdict.PASS
    without, some = room.judge_huge_pages(0, 2048), room.judge_huge_pages(64, 2048)
    assert (without.verdict, some.verdict) == (Verdict.PASS, Verdict.PASS)
    assert "sysctl -w vm.nr_hugepages" in without.message
    assert "64 of 2048 KiB are reserved: 128 MiB" in some.message


def test_shares_are_told(settings: Config, tmp_path: Path) -> None:
    """A host without virtiofsd is as well as others, until a directory is given to guests; each that cannot be served
    is named, and what is to be done.
    """
    given, serves = tmp_path.resolve() / "data", ("/nonesuch/virtiofsd", "/bin/sh")
    given.mkdir()
    for sources, servers, verdict, told, remedy in (
        ((), (), Verdict.PASS, "there is no virtiofsd", ""),
        ((), serves, Verdict.PASS, "/bin/sh serves them; no directory is given", ""),
        ((str(given),), (), Verdict.WARN, f"no role can have shares, and {given} may be named", "virtiofsd"),
        ((str(given),), serves, Verdict.PASS, f"/bin/sh serves {given}", ""),
        ((str(given), f"{given}/none", "/dev/null"), serves, Verdict.WARN, f"{given}/none cannot be", "make it"),
        ((str(given), f"{given}/none", "/dev/null"), serves, Verdict.WARN, "; /dev/null is no directory", "; share"),
    ):
        check = shares.judge(sources, servers)
        assert (check.name, check.verdict) == ("shares", verdict)
        assert told in check.message
        assert remedy in check.remedy
    check = shares.shares(dataclasses.replace(settings, shares=(f"{given}/none",)))
    assert (check.verdict, f"{given}/none" in check.message) == (Verdict.WARN, True)


def test_devices_for_guests_are_told() -> None:
    """Which of those that are given can be passed on, why another cannot, and what is to be done."""
    card = PciDevice(address="0000:02:00.0", kind="8086:1533", code="0200")
    sick = PciDevice(
        address="0000:01:00.0", kind="10de:2204", code="0300", fault="it has no IOMMU", hint="boot it so"
    )
    for given, devices, verdict, told, remedy in (
        ((), (), Verdict.PASS, "none is given to guests", ""),
        (("8086:1533",), (card,), Verdict.PASS, "guests may have 0000:02:00.0 (8086:1533)", ""),
        (("class:0200", "01:00.0"), (card,), Verdict.WARN, "; there is no PCI device 01:00.0", "lspci"),
        (("class:0300",), (sick,), Verdict.WARN, "guests can have none; it has no IOMMU", "boot it so"),
        (("class:0300", "class:0200"), (sick, card), Verdict.WARN, "0000:02:00.0 (8086:1533); it has", "boot it so"),
    ):
        check = pci.judge(PciLook(given=given, devices=devices))
        assert (check.name, check.verdict) == ("pci devices", verdict)
        assert told in check.message
        assert remedy in check.remedy


def test_the_bus_of_this_host_can_be_looked_at(settings: Config) -> None:
    """A bridge is no device for guests, and a host without one has none to give."""
    check = pci.devices(dataclasses.replace(settings, pci=("class:0604",)))
    assert check.verdict is Verdict.WARN
    assert "is a bridge" in check.message or "there is no PCI device class:0604" in check.message


def test_the_clock_never_stops_anything(settings: Config) -> None:
    """An unsynchronised clock is a warning."""
    assert host.clock(settings).verdict in (Verdict.PASS, Verdict.WARN)


def test_apparmor_must_know_our_socket() -> None:
    """Where it confines QEMU, a host without the one rule for our run directory is told the line to add; one that
    kept the rule of former versions, the line to remove.
    """
    run, rule = Path("/run/vmrole"), "/run/vmrole/monitor.sock rw,"
    assert confinement.judge(False, "", run).verdict is Verdict.PASS
    refused = confinement.judge(True, f"# {rule}\n", run)
    assert failed(refused)
    assert rule in refused.remedy
    assert confinement.judge(True, f"  {rule}\n", run).verdict is Verdict.PASS
    assert failed(confinement.judge(True, f"{rule}\n", Path("/run/other")))
    former = confinement.judge(True, f"{rule}\n/run/vmrole/monitors/*.sock rw,\n", run)
    assert former.verdict is Verdict.WARN
    assert "monitors/*.sock" in former.remedy


def test_apparmor_must_let_libvirt_serve_shares() -> None:
    """Each daemon of libvirt's that has a profile has the rule for what serves shares, not as a comment."""
    program, rule = Path("/var/lib/vmrole/serve-share"), "/var/lib/vmrole/serve-share PUx,"
    assert confinement.judge_shares({}, program) is None
    assert confinement.judge_shares({"usr.sbin.libvirtd": f"  {rule}\n"}, program) is None
    both = {"usr.sbin.libvirtd": f"{rule}\n", "usr.sbin.virtqemud": f"# {rule}\n"}
    for rules, daemon in ((both, "virtqemud"), ({"usr.sbin.libvirtd": ""}, "libvirtd")):
        refused = confinement.judge_shares(rules, program)
        assert refused is not None
        assert failed(refused)
        assert f"keeps {daemon} from {program}" in refused.message
        assert f"/etc/apparmor.d/local/usr.sbin.{daemon}: {rule}" in refused.remedy
    assert confinement.judge_shares(both, Path("/srv/vmrole/serve-share")) is not None


GOOD = Rights(ids=(64055,) * 4, groups=(108,) * 4, capabilities=0, seccomp=2, label="libvirt-8a1b (enforce)")
BAD: dict[str, tuple[Rights, list[str], bool, Verdict, str]] = {
    "root": (replace(GOOD, ids=(0,) * 4), ["AppArmor"], True, Verdict.FAIL, 'user = "libvirt-qemu"'),
    "saved as root": (replace(GOOD, ids=(64055, 64055, 0, 64055)), ["AppArmor"], True, Verdict.FAIL, "user ="),
    "root's group": (replace(GOOD, groups=(0,) * 4), ["AppArmor"], True, Verdict.FAIL, 'group = "kvm"'),
    "capabilities": (replace(GOOD, capabilities=1 << 12), ["AppArmor"], True, Verdict.FAIL, "clear_emulator"),
    "no filter": (replace(GOOD, seccomp=0), ["AppArmor"], True, Verdict.WARN, "seccomp_sandbox = 1"),
    "no module": (replace(GOOD, label=""), [], True, Verdict.WARN, "switch one of them on"),
    "no module, a label": (replace(GOOD, label="libvirt-8a1b (enforce)"), [], True, Verdict.WARN, "switch one"),
    "unconfined": (replace(GOOD, label="unconfined"), ["AppArmor"], True, Verdict.FAIL, 'driver = "apparmor"'),
    "no label": (replace(GOOD, label=""), ["AppArmor"], True, Verdict.FAIL, 'security_driver = "apparmor"'),
    "libvirtd's": (replace(GOOD, label="libvirtd (enforce)"), ["AppArmor"], True, Verdict.FAIL, "apparmor"),
    "complains": (replace(GOOD, label="libvirt-8a1b (complain)"), ["AppArmor"], True, Verdict.FAIL, "aa-enforce"),
    "virtd_t": (
        replace(GOOD, label="system_u:system_r:virtd_t:s0-s0:c0.c1023"),
        ["SELinux"],
        True,
        Verdict.FAIL,
        'security_driver = "selinux"',
    ),
    "permissive": (
        replace(GOOD, label="system_u:system_r:svirt_t:s0:c1,c2"),
        ["SELinux"],
        False,
        Verdict.FAIL,
        "setenforce 1",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_a_qemu_that_is_not_confined_never_passes(how: str) -> None:
    """Each right too many is told with what to set, and the gravest of several decides."""
    rights, modules, enforced, verdict, remedy = BAD[how]
    check = confinement.judge_process(rights, modules, enforced=enforced)
    assert (check.verdict, remedy in check.remedy) == (verdict, True), check
    worse = confinement.judge_process(replace(rights, ids=(0,) * 4), modules, enforced=enforced)
    assert worse.verdict is Verdict.FAIL
    assert "QEMU is root" in worse.message


@pytest.mark.parametrize(
    "label", ["libvirt-8a1b (enforce)", "system_u:system_r:svirt_t:s0:c1,c2", "u:r:svirt_tcg_t:s0:c3"]
)
def test_a_qemu_that_is_confined_passes(label: str) -> None:
    """By AppArmor's profile of its own, or SELinux's type for VMs, also for those without KVM."""
    modules = ["AppArmor"] if label.startswith("libvirt-") else ["SELinux"]
    assert confinement.judge_process(replace(GOOD, label=label), modules).verdict is Verdict.PASS


def test_a_process_s_rights_are_the_kernel_s_word() -> None:
    """Of our own process: its users and groups, and what it may."""
    found = probe_domain.of_process(os.getpid())
    assert (found.ids, found.groups) == ((*os.getresuid(), os.geteuid()), (*os.getresgid(), os.getegid()))
    told = subprocess.run(["setpriv", "--dump"], capture_output=True, text=True, check=True).stdout
    assert ("Effective capabilities: [none]" in told) == (found.capabilities == 0)


def test_a_process_cannot_be_looked_at_without_libvirt(settings: Config) -> None:
    """Not a verdict on QEMU: the check of libvirt says what is wrong."""
    away = replace(settings, libvirt_uri="qemu+unix:///system?socket=/nonexistent/libvirt-sock")
    for check in (confinement.process(away), reach.ways(away)):
        assert (check.verdict, bool(check.remedy)) == (Verdict.WARN, True)


def described(place: Path, name: str, features: list[str], *, there: bool = True) -> None:
    """A description of a UEFI as a distribution ships it."""
    code = place / f"{name}.fd"
    if there:
        code.write_bytes(b"")
    target = {"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}
    said = {"interface-types": ["uefi"], "mapping": {"executable": {"filename": str(code)}}}
    (place / f"{name}.json").write_text(json.dumps({**said, "targets": [target], "features": features}))


def test_uefi_is_missed_by_images_that_want_it_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without UEFI, or without one that has Microsoft's keys, some images cannot be used: a drawback, no failure."""
    monkeypatch.setattr(firmwares, "DESCRIPTIONS", (tmp_path,))
    (tmp_path / "broken.json").write_text("{")
    described(tmp_path, "gone", ["acpi-s3"], there=False)
    assert firmware.uefi(Config()).verdict is Verdict.WARN
    assert not firmwares.keyless_is_secure(), "nothing is known of it"
    described(tmp_path, "secure", ["secure-boot", "requires-smm"])
    assert firmwares.keyless_is_secure()
    assert "Microsoft's keys" in firmware.uefi(Config()).message, "one without keys runs what is not signed"
    described(tmp_path, "plain", ["acpi-s3"])
    assert not firmwares.keyless_is_secure()
    found = firmware.uefi(Config())
    assert (found.verdict, found.remedy) == (Verdict.WARN, "apt-get install ovmf")
    assert "Microsoft's keys" in found.message
    described(tmp_path, "enrolled", ["enrolled-keys", "requires-smm", "secure-boot"])
    assert firmware.uefi(Config()).verdict is Verdict.PASS


def test_a_tpm_is_made(program: Program) -> None:
    """The real tools make a TPM (`swtpm_setup --version` of 0.7 prints it and exits with 1: no sign of anything)."""
    assert firmware.tpm(Config()).verdict is Verdict.PASS
    program("swtpm_setup", "exit 1")
    found = firmware.tpm(Config())
    assert (found.verdict, found.remedy) == (Verdict.WARN, "apt-get install swtpm swtpm-tools")


def test_qemu_must_get_to_its_files(tmp_path: Path, program: Program) -> None:
    """Tried as QEMU's user on each directory from the top; the first that he cannot enter is named."""
    nobody, qemu = reach.User(65534, 65534), reach.User(64055, 108)
    if os.geteuid() == 0:
        check = reach.judge("way", nobody, [tmp_path])  # pytest's own directories are their owner's alone.
        assert failed(check)
        assert "QEMU (uid 65534) cannot enter /tmp" in check.message
        assert reach.judge("way", nobody, [Path("/usr/share")]).verdict is Verdict.PASS
    program("setpriv", 'for last; do :; done; case "$last" in */closed*) exit 1;; esac')
    check = reach.judge("way", qemu, [tmp_path / "open", tmp_path / "closed" / "below"])
    assert failed(check)
    assert f"cannot enter {tmp_path}/closed:" in check.message
    assert reach.judge("way", qemu, [tmp_path / "open"]).verdict is Verdict.PASS


def test_qemu_must_get_to_our_monitor(tmp_path: Path, program: Program) -> None:
    """A socket that QEMU's user may not connect to fails, once the daemon has opened it to a group."""
    user, path = reach.User(64055, 108), tmp_path / "monitor.sock"
    program("setpriv", 'for last; do :; done; case "$last" in *.sock) exit 1;; esac')
    assert reach.judge("way", user, [tmp_path], [path]).verdict is Verdict.PASS
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        assert reach.judge("way", user, [tmp_path], [path]).verdict is Verdict.PASS
        path.chmod(0o660)
        check = reach.judge("way", user, [tmp_path], [path])
    assert failed(check)
    assert f"cannot connect to {path}" in check.message


def test_kvm_that_root_may_open_and_qemu_may_not(tmp_path: Path, program: Program) -> None:
    """Told with mode and group, and what keeps it right; by the groups that the user has, too."""
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(0o600)
    program("setpriv", f'echo "$@" >> {tmp_path}/asked; exit 1')
    check = reach.judge_kvm(reach.User(os.getuid(), os.getgid()), device)
    assert check.verdict is Verdict.WARN
    for word in ("chgrp kvm", "0660", "65-kvm.rules", "qemu.conf"):
        assert word in check.remedy
    assert "mode 0600" in check.message
    assert "--init-groups test -r" in (tmp_path / "asked").read_text()
    program("setpriv", 'case "$*" in *" -w "*) exit 1;; esac')
    assert reach.judge_kvm(reach.User(os.getuid(), os.getgid()), device).verdict is Verdict.WARN
    program("setpriv", "exit 0")
    assert reach.judge_kvm(reach.User(os.getuid(), os.getgid()), device).verdict is Verdict.PASS


@pytest.mark.parametrize("key", ["state_dir", "run_dir", "secrets_dir"])
def test_directories_of_the_daemon_are_nobody_elses(settings: Config, key: str) -> None:
    """One that others may write to fails; secrets need no directory."""
    settings = dataclasses.replace(settings, secrets_dir=settings.state_dir / "secrets")
    check = {"state_dir": host.state_dir, "run_dir": host.run_dir, "secrets_dir": host.secrets_dir}[key]
    assert check(settings).verdict is not Verdict.FAIL
    directory: Path = getattr(settings, key)
    directory.mkdir(exist_ok=True)
    directory.chmod(0o770)
    assert failed(check(settings))
    assert "can be written by others" in check(settings).message


@pytest.mark.parametrize("what", [".", "bin", "bin/vmrole", "lib/deep/module.py"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_root_runs_is_nobody_elses(tmp_path: Path, what: str, mode: int) -> None:
    """A file or directory of the virtual environment, at any depth, that others may write to fails, with its name."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib" / "deep").mkdir(parents=True)
    for file in ("bin/vmrole", "lib/deep/module.py"):
        (venv / file).touch()
    (venv / "lib64").symlink_to("lib")
    assert host.judge_program([venv]).verdict is Verdict.PASS
    (venv / what).chmod((venv / what).stat().st_mode | mode)
    check = host.judge_program([venv])
    assert failed(check)
    assert check.verdict is Verdict.FAIL
    assert f"{venv / what} can be written by others" in check.message


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_what_root_runs_and_a_user_owns_is_told(tmp_path: Path) -> None:
    """A checkout of a user's: whoever he lets in becomes root."""
    (tmp_path / "module.py").touch()
    os.chown(tmp_path / "module.py", 12345, -1)
    check = host.judge_program([tmp_path])
    assert (check.verdict, "module.py belongs to uid 12345" in check.message) == (Verdict.WARN, True)


def test_how_much_disk_is_promised_is_told(settings: Config) -> None:
    """Overlays, local storage and drives by what they may become, and not by what is written, and blobs by what they
    have; too much warns. A put that is under way goes on.
    """
    overlays, storage = settings.state_dir / "overlays" / "web-0.shop", settings.state_dir / "storage" / "web-0.shop"
    overlays.mkdir(parents=True)
    storage.mkdir(parents=True)
    told = "0 disks of instances and 0 drives may grow to 0.0 GiB, blobs have 0.0 GiB: 0.0 times"
    assert told in room.disks(settings).message
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", overlays / "1.qcow2", "300G"], check=True)
    with (storage / "cache.raw").open("wb") as file:
        file.truncate(200 << 30)
    (overlays / "2.qcow2").write_bytes(b"QFI")  # is being made
    assert "2 disks of instances and 0 drives may grow to 500.0 GiB" in room.disks(settings).message
    layout = Layout(settings.state_dir, settings.run_dir)
    blobs, web = BlobDirectory(layout, SystemClock()), BlobOwner(Of.INSTANCE, "web-0.shop")
    wanted = BlobPut(name="state", put_id="put-1", size_bytes=2, sha256=hashlib.sha256(b"ab").hexdigest())
    assert blobs.part(web, "me", wanted, 0, b"a") == 1
    for stored, blob in (
        (layout.drive("db-0"), False),
        (layout.blobs_of(BlobOwner(Of.ROLE, "web.shop")) / "kept.blob", True),
    ):
        stored.parent.mkdir(parents=True, exist_ok=True)
        with stored.open("wb") as file:
            file.truncate((100 << 30) + (HEAD_BYTES if blob else 0))
    message = room.disks(settings).message
    assert "2 disks of instances and 1 drives may grow to 600.0 GiB, blobs have 100.0 GiB" in message
    assert isinstance(blobs.part(web, "me", wanted, 1, b"b"), Blob), "who looks ends no put"
    usable = shutil.disk_usage(settings.state_dir).total - (settings.disk_reserve_mib << 20)
    check = room.disks(replace(settings, disk_overcommit=1))
    assert check.verdict is (Verdict.WARN if usable < 700 << 30 else Verdict.PASS)
    assert f"{(700 << 30) / usable:.1f} times the room" in check.message
    assert room.disks(replace(settings, disk_overcommit=10_000)).verdict is Verdict.PASS


def test_guests_that_can_fill_the_table_of_connections_together_are_told() -> None:
    """What all that run may open leaves a quarter of the host's table to others, or there is a remedy."""
    assert room.judge_connections(24, 262_144).verdict is Verdict.PASS
    check = room.judge_connections(25, 262_144)
    assert (failed(check), check.verdict) == (False, Verdict.WARN)
    (need,) = re.findall(r"nf_conntrack_max=(\d+)", check.remedy)
    assert room.judge_connections(25, int(need) + 1).verdict is Verdict.PASS
    assert room.connections(Config()).verdict is not Verdict.FAIL


def test_swap_on_a_disk_is_told() -> None:
    """A disk or a file warns, with its name; none, or compressed memory, does not."""
    head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    zram, disk = "/dev/zram0 partition 100 0 100\n", "/dev/sda2 partition 100 0 -2\n"
    assert reach.judge_swap("", Path("/run/x")).verdict is Verdict.PASS
    assert reach.judge_swap(head + zram, Path("/run/x")).verdict is Verdict.PASS
    check = reach.judge_swap(head + zram + disk, Path("/run/x"))
    assert (check.verdict, "zram" in check.message, "/dev/sda2" in check.message) == (Verdict.WARN, False, True)


@pytest.mark.parametrize(
    ("told", "verdict", "words"),
    [
        (" Logging outputs: 3:journald\n", Verdict.PASS, "goes to journald"),
        (" Logging outputs: 3:syslog:libvirtd 3:stderr\n", Verdict.PASS, "goes to stderr, syslog"),
        (" Logging outputs: \n", Verdict.PASS, "goes to nothing"),
        (" Logging outputs: 3:file:/var/log/libvirt/libvirtd.log\n", Verdict.WARN, "/var/log/libvirt/libvirtd.log"),
        (" Logging outputs: 3:journald 4:file:/a:b\n", Verdict.WARN, "logs to /a:b, which"),
    ],
)
def test_a_log_that_a_guest_could_fill_is_told(told: str, verdict: Verdict, words: str) -> None:
    """With the line that has the journal bound it, in the file of the daemon that runs."""
    check = libvirt_log.judge(told, "virtqemud")
    assert (check.verdict, words in check.message) == (verdict, True), check
    if verdict is Verdict.WARN:
        assert 'log_outputs = "3:journald" in /etc/libvirt/virtqemud.conf' in check.remedy


@pytest.mark.parametrize(
    ("qemu", "keeper", "verdict", "words"),
    [
        (None, None, Verdict.PASS, "at most 8 MiB"),
        ('#stdio_handler = "file"\n', "#max_size = 0\n", Verdict.PASS, "at most 8 MiB"),
        ('stdio_handler = "logd" # ours\n', "max_size = 1048576\nmax_backups = 0\n", Verdict.PASS, "at most 1 MiB"),
        ('user = "qemu"\n  stdio_handler="file"\n', "", Verdict.FAIL, "QEMU writes them by itself"),
        ("stdio_handler = 'file'\n", "", Verdict.FAIL, "QEMU writes them by itself"),
        ("", "max_size=0\n", Verdict.FAIL, "nothing is rolled over"),
        ("", "max_size = 2097152\nmax_backups = 4000\n", Verdict.WARN, "at most 8002 MiB"),
        ("", "max_size = much\n", Verdict.WARN, "not known"),
    ],
)
def test_consoles_that_a_guest_could_fill_a_disk_by_are_told(
    tmp_path: Path, qemu: str | None, keeper: str | None, verdict: Verdict, words: str
) -> None:
    """libvirt bounds them, unless one of its files says otherwise; a file that is not there says nothing."""
    for name, text in (("qemu.conf", qemu), ("virtlogd.conf", keeper)):
        if text is not None:
            (tmp_path / name).write_text(text)
    check = consoles.bounded(Config(), tmp_path)
    assert (check.verdict, words in check.message) == (verdict, True), check
    assert (check.verdict is Verdict.PASS) == (not check.remedy)


def test_the_daemon_that_runs_is_asked_for_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one daemon, else the modular one; when neither answers, that is told, and it is no failure."""
    admin = tmp_path / "virt-admin"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for answering, daemon in (("libvirtd", "libvirtd"), ("virtqemud", "virtqemud")):
        told = f"case $2 in {answering}:*) echo ' Logging outputs: 3:file:/x' ;; *) echo no >&2; exit 1 ;; esac"
        admin.write_text(f"#!/bin/sh\n{told}\n")
        admin.chmod(0o755)
        check = libvirt_log.outputs(Config())
        assert (check.verdict, f"{daemon} logs to /x" in check.message) == (Verdict.WARN, True), check
    admin.write_text("#!/bin/sh\necho error: >&2\necho no such socket >&2\nexit 1\n")
    check = libvirt_log.outputs(Config())
    assert (check.verdict, "not known: no such socket" in check.message) == (Verdict.WARN, True), check
    admin.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "libvirt-clients" in libvirt_log.outputs(Config()).remedy


@pytest.mark.parametrize(
    "message",
    [
        "unshare --net -- nft -j -f -: exit 1: unshare: unshare failed: Operation not permitted",
        "the kernel makes no bridge: unshare --net: exit 1: Operation not permitted",
        "/var/lib/vmrole/.doctor-a: Permission denied",
        "/run/vmrole cannot be written",
    ],
)
def test_what_a_user_may_not_try_says_nothing_of_the_host(message: str) -> None:
    """No package is missing for that; root hears of it as it is, and what has another cause everybody does."""
    failed = Check("nftables", Verdict.FAIL, message, "apt-get install nftables")
    told = doctor.untried(failed, is_root=False)
    assert (told.verdict, told.remedy) == (Verdict.WARN, "sudo vmrole doctor")
    assert message in told.message
    assert doctor.untried(failed, is_root=True) == failed
    other = Check("nftables", Verdict.FAIL, "nft: no such command", "apt-get install nftables")
    assert doctor.untried(other, is_root=False) == other


def test_a_user_is_told_to_be_root_and_of_nothing_that_he_cannot_try() -> None:
    """Everything but what he sees as well as root does."""
    script = (
        "import importlib, os, pkgutil, orchestrator\n"
        "for one in pkgutil.walk_packages(orchestrator.__path__, 'orchestrator.'):\n"
        "    '__main__' in one.name or importlib.import_module(one.name)\n"
        "os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"
        "from orchestrator.host import doctor\n"
        "from orchestrator.host.config import Config\n"
        "for check in doctor.each(Config()):\n"
        "    print(check.verdict, check.message, check.remedy, sep='|')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        verdict, message, remedy = line.split("|", 2)
        if "not permitted" in message or "Permission denied" in message:
            assert (verdict, remedy) == ("WARN", "sudo vmrole doctor")
    assert "FAIL|not root" in done.stdout


_TOOLS = ("haproxy", "dnsmasq", "nft", "ip", "unshare", "qemu-img", "iptables", "iptables-legacy", "tc", "sysctl")
_SLOW = ("accelerator", confinement.PROCESS, "libvirt", "egress", "host firewall")


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 1",
        "kill -9 $$",
        "echo '{}'; echo '[]' >&2",
        "echo '[[[[[[ null'",
        "printf 'version '; head -c 6000 /dev/zero | tr '\\0' 9; echo .1",
        "head -c 100000 /dev/urandom",
        "printf 'version 99.99\\033[31m\\302\\233 x\\n'",
        'echo \'{"nftables": [{"chain": 7}, {"rule": {"expr": "x"}}, null, {"table": {}}]}\'',
    ],
    ids=["nothing", "fails", "killed", "object", "no-json", "digits", "noise", "escapes", "odd-json"],
)
def test_no_program_ends_the_doctor(
    script: str, program: Program, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever one says: each check ends in a verdict of its own, in words, and those after it are made."""
    for tool in _TOOLS:
        program(tool, script)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(doctor, "CHECKS", [one for one in doctor.CHECKS if one[0] not in _SLOW])
    found = doctor.checks(settings)
    assert [one.name for one in found] == [name for name, _ in doctor.CHECKS]
    assert all(one.message for one in found)


def test_a_program_that_cannot_be_run_is_named(settings: Config, tmp_path: Path) -> None:
    """It is there, and is none: that is no bug of ours."""
    path = tmp_path / "haproxy"
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(0o700)
    check = programs.haproxy(replace(settings, haproxy=str(path)))
    assert (check.verdict, check.message) == (Verdict.FAIL, f"{path} cannot be run: Exec format error")


def test_a_keeper_of_consoles_that_accepts_nobody_is_not_waited_for(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue is full: to connect would wait for ever."""
    path = tmp_path / "virtlogd"
    monkeypatch.setattr(programs, "_VIRTLOGD", path)
    monkeypatch.setattr(programs, "_VIRTLOGD_S", 1)
    with socket.socket(socket.AF_UNIX) as full, contextlib.ExitStack() as waiting:
        full.bind(str(path))
        full.listen(0)
        for _ in range(2):
            one = waiting.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(str(path))
        check = programs.virtlogd(settings)
    assert check.verdict is Verdict.FAIL
    assert "Resource temporarily unavailable" in check.message
