"""The doctor on a host where everything is there, and on the same one with parts taken away."""

from __future__ import annotations

import pwd
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import probe_domain
from orchestrator.drivers.hypervisor.probe_domain import xml
from orchestrator.host.config import Config
from orchestrator.host.doctor import Verdict, checks, confinement, host, libvirt_log, passage, programs, reach
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import HOST, KVM, OUTSIDE_LINK, QEMU_USER, let_qemu_pass
from tests.world.waiting import until


@pytest.fixture
def settings(lab: Lab, tmp_path: Path) -> Config:
    """The lab's configuration."""
    let_qemu_pass(tmp_path / "state")
    return Config(
        state_dir=tmp_path / "state",
        run_dir=Path("/run/vmrole-doctor"),
        socket=Path("/run/vmrole-doctor/s"),
        libvirt_uri=lab.libvirt_uri,
        vip_interface=OUTSIDE_LINK,
        egress_deny=(),  # The machine's own name server may lie anywhere.
    )


def test_nothing_fails_where_all_is_there_and_nothing_is_left(lab: Lab, settings: Config) -> None:
    """A good host gets a PASS, or a WARN about what it may lack, each time; looking leaves no file, link or table."""
    found = checks(settings)
    assert [check for check in found if check.verdict is Verdict.FAIL] == []
    warned = [check for check in found if check.verdict is Verdict.WARN]
    lacking = {"accelerator", confinement.PROCESS, "limits", "socket group", "clock", libvirt_log.NAME}
    assert {check.name for check in warned} <= lacking
    assert libvirt_log.outputs(settings).message.startswith("libvirtd logs to /var/log/libvirt/libvirtd.log")
    assert all(check.remedy for check in warned)
    assert not settings.state_dir.exists()
    assert lab.leftovers() == []


def test_what_is_taken_away_is_missed(lab: Lab, settings: Config) -> None:
    """libvirtd away, a route into the pool, and routing switched off are each told by their own check."""
    for check in (programs.libvirt, host.network_pool, host.forwarding):
        assert check(settings).verdict is Verdict.PASS
    lab.kill_libvirtd()
    HOST.run(["ip", "route", "add", "10.90.5.0/24", "dev", OUTSIDE_LINK])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    try:
        assert programs.libvirt(settings).verdict is Verdict.FAIL
        assert programs.virtlogd(settings).verdict is Verdict.PASS
        assert "10.90.5.0/24" in host.network_pool(settings).message
        assert host.forwarding(settings).verdict is Verdict.WARN
    finally:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        HOST.run(["ip", "route", "del", "10.90.5.0/24"])


@pytest.mark.parametrize(
    ("line", "instead", "verdict", "told"),
    [
        ("", "", Verdict.WARN, "no AppArmor or SELinux confines QEMU"),
        ('user = "libvirt-qemu"', 'user = "root"', Verdict.FAIL, "QEMU is root"),
        ('group = "kvm"', 'group = "root"', Verdict.FAIL, "of root's group"),
        ('security_driver = "none"', "seccomp_sandbox = 0", Verdict.WARN, "every system call"),
    ],
)
def test_a_qemu_s_rights_are_seen_at_its_process(
    lab: Lab, settings: Config, line: str, instead: str, verdict: Verdict, told: str
) -> None:
    """A QEMU that libvirt's own settings leave too much is told as that; what was started for it is gone again."""
    conf = Path("/etc/libvirt/qemu.conf")
    before = conf.read_text()
    assert line in before
    lab.kill_libvirtd()
    try:
        conf.write_text(before.replace(line, instead) if line else before)
        lab.start_libvirtd()
        check = confinement.process(settings)
        assert (check.verdict, told in check.message) == (verdict, True), check
        assert ("every system call" in check.message) == (told == "every system call")
        assert ("QEMU is root" in check.message) == (told == "QEMU is root")
        assert lab.virsh("list", "--all", "--name").split() == []
    finally:
        lab.kill_libvirtd()
        conf.write_text(before)
        lab.start_libvirtd()
    assert lab.leftovers() == []


_HOLDER = """
import sys, libvirt
from orchestrator.drivers.hypervisor.probe_domain import started
with started(libvirt.open(sys.argv[1])) as pid:
    print(pid, flush=True)
    sys.stdin.read()
"""


def test_a_probe_goes_with_who_has_started_it(lab: Lab, settings: Config) -> None:
    """A doctor that is killed while it looks leaves no VM, for libvirtd ends it; and no user's VM is ever touched."""
    theirs = xml("vmrole-doctor").replace("<description>", "<description>of somebody else: ")
    HOST.run(["virsh", "create", "--paused", "/dev/stdin"], text=theirs)
    argv = [sys.executable, "-c", _HOLDER, lab.libvirt_uri]
    try:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            pid = int(holder.stdout.readline())
            assert probe_domain.of_process(pid).ids[0] == pwd.getpwnam(QEMU_USER).pw_uid
            assert len(lab.virsh("list", "--name").split()) == 2
            holder.kill()
        until(
            lambda: lab.virsh("list", "--all", "--name").split() == ["vmrole-doctor"], 60.0, what="the probe is gone"
        )
        assert not Path(f"/proc/{pid}").exists()
        assert confinement.process(settings).verdict is Verdict.WARN
        assert lab.virsh("list", "--all", "--name").split() == ["vmrole-doctor"]
    finally:
        lab.virsh("destroy", "vmrole-doctor")


def test_kvm_that_qemu_s_user_may_not_open_is_told(lab: Lab, settings: Config) -> None:
    """As a kernel without udev's rule makes it: root's alone; with the remedy's mode it passes."""
    if not KVM.exists():
        assert reach.kvm(settings).verdict is Verdict.PASS
        return
    assert reach.kvm(settings).verdict is Verdict.PASS
    mode = stat.S_IMODE(KVM.stat().st_mode)
    KVM.chmod(0o600)
    try:
        check = reach.kvm(settings)
    finally:
        KVM.chmod(mode)
    assert (check.verdict, "mode 0600" in check.message) == (Verdict.WARN, True), check
    assert "chmod 0660 /dev/kvm" in check.remedy


def test_a_run_directory_that_qemu_s_user_cannot_enter_is_told(settings: Config) -> None:
    """Answer discs and our monitor lie there."""
    assert reach.ways(settings).verdict is Verdict.PASS
    settings.run_dir.mkdir(mode=0o700)
    try:
        check = reach.ways(settings)
        assert (check.verdict, f"cannot enter {settings.run_dir}" in check.message) == (Verdict.FAIL, True), check
    finally:
        settings.run_dir.rmdir()


_FIREWALLS = {
    "ufw": """
table ip filter {
  chain INPUT {
    type filter hook input priority filter;
    policy drop;
    iif "lo" accept
    ct state related,established accept
    icmp type echo-request accept
    udp sport 67 udp dport 68 accept
    tcp dport 22 accept
    jump ufw-user-input
  }
  chain FORWARD {
    type filter hook forward priority filter;
    policy drop;
    ct state related,established accept
    jump ufw-user-forward
  }
  chain ufw-user-input {
  }
  chain ufw-user-forward {
  }
}""",
    "firewalld": """
table inet firewalld {
  chain INPUT {
    type filter hook input priority filter + 10;
    policy accept;
    ct state related,established accept
    iif "lo" accept
    tcp dport 22 accept
    reject with icmpx admin-prohibited
  }
  chain FORWARD {
    type filter hook forward priority filter + 10;
    policy accept;
    ct state related,established accept
    reject with icmpx admin-prohibited
  }
}""",
}
# What the remedies of the doctor come to.
_REMEDIES = {
    "ufw": [
        "add rule ip filter ufw-user-input udp sport 68 udp dport 67 accept",
        "add rule ip filter ufw-user-input ip saddr 10.90.0.0/16 udp dport 53 accept",
        "add rule ip filter ufw-user-input ip saddr 10.90.0.0/16 tcp dport 53 accept",
        "add rule ip filter ufw-user-input tcp dport { 80, 443 } accept",
        "add rule ip filter ufw-user-forward ip saddr 10.90.0.0/16 accept",
    ],
    "firewalld": [
        "insert rule inet firewalld INPUT udp dport 67 accept",
        "insert rule inet firewalld INPUT ip saddr 10.90.0.0/16 accept",
        "insert rule inet firewalld INPUT tcp dport { 80, 443 } accept",
        "insert rule inet firewalld FORWARD ip saddr 10.90.0.0/16 accept",
    ],
}


@pytest.mark.parametrize("whose", _FIREWALLS)
def test_a_firewall_of_the_host_that_stops_guests_is_found_out(lab: Lab, settings: Config, whose: str) -> None:
    """Packets are sent, the chains that stop them are named, after the remedy all get through; nothing is left."""
    assert passage.host_firewall(settings).verdict is Verdict.PASS
    table = {"ufw": ["ip", "filter"], "firewalld": ["inet", "firewalld"]}[whose]
    HOST.run(["nft", "-f", "-"], text=_FIREWALLS[whose])
    try:
        check = passage.host_firewall(settings)
        assert check.verdict is Verdict.FAIL
        for word in (*table, "INPUT", "FORWARD", "UDP to port 67", "TCP to port 53", "to a VIP", "to the outside"):
            assert word in check.message, check.message
        assert {"ufw": "ufw route allow", "firewalld": "firewall-cmd --permanent"}[whose] in check.remedy
        for rule in _REMEDIES[whose]:
            HOST.run(["nft", rule])
        assert passage.host_firewall(settings).verdict is Verdict.PASS
    finally:
        HOST.run(["nft", "delete", "table", *table])
    assert lab.leftovers() == []


def test_a_forward_policy_cuts_instances_of_one_service_where_bridges_are_filtered(settings: Config) -> None:
    """What Docker does: FORWARD drops, and br_netfilter shows it what guests of one bridge send each other."""
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    rules = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    HOST.run(["nft", "-f", "-"], text=rules)
    before = bridged.read_text() if bridged.exists() else ""
    try:
        for value in ("0", "1") if before else ():
            bridged.write_text(value)
            check = passage.host_firewall(settings)
            assert check.verdict is Verdict.FAIL
            assert "to the outside" in check.message
            assert ("instances of one service" in check.message) == (value == "1"), check.message
        assert "UDP" not in passage.host_firewall(settings).message
    finally:
        HOST.run(["nft", "delete", "table", "ip", "filter"])
        if before:
            bridged.write_text(before)


def test_iptables_of_before_nft_is_asked_as_well(settings: Config) -> None:
    """A host may have rules of iptables-legacy, which nft does not list."""
    HOST.run(["iptables-legacy", "-A", "INPUT", "-j", "DROP"])
    try:
        check = passage.host_firewall(settings)
        assert (check.verdict, "iptables-legacy chain INPUT, which ends in drop" in check.message) == (
            Verdict.FAIL,
            True,
        ), check.message
    finally:
        HOST.run(["iptables-legacy", "-D", "INPUT", "-j", "DROP"])


@pytest.mark.parametrize(("port", "kind"), [(53, "udp"), (53, "tcp"), (67, "udp")])
def test_who_takes_the_name_server_s_ports_is_named(settings: Config, port: int, kind: str) -> None:
    """A program that listens on all addresses leaves dnsmasq none; one on its own address does."""
    assert host.ports(settings).verdict is Verdict.PASS
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as taken:
        taken.bind(("", port))
        if kind == "tcp":
            taken.listen()
        check = host.ports(settings)
        assert check.verdict is Verdict.FAIL
        assert f"{kind} port {port} is taken on all addresses by python" in check.message
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.53", 53))
        assert host.ports(settings).verdict is Verdict.PASS
