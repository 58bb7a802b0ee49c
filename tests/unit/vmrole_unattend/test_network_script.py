"""A network that is written down, in a guest whose ifupdown cannot do all of it: what the script adds."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from vmrole_unattend.network_config import Network

from tests.unit.vmrole_unattend.user_parts import ANSWERS, parts

WRITTEN = dataclasses.replace(
    ANSWERS, address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53", "192.0.2.54"), search=("corp.example",)
)
BOTH = dataclasses.replace(WRITTEN, address6="fd12:3456:789a:1::10/64", gateway6="fd12:3456:789a:1::1")
# As cloud-init writes it (tests/unit/vmrole_unattend/test_network_config.py).
INTERFACES = """auto eth0
iface eth0 inet static
    address 192.0.2.10/24
    dns-nameservers 192.0.2.53 192.0.2.54
    dns-search corp.example
    post-up route add default gw 192.0.2.1 || true
"""
NAMES = "search corp.example\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n"
_CARD = """
ip link add eth0 type veth peer name other && ip link set eth0 up && ip link set other up
ip address add 192.0.2.10/24 dev eth0 && ip -6 address add fd12:3456:789a:1::10/64 dev eth0 nodad
"$@"; "$@" || exit
ip -4 route show default; ip -6 route show default
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A guest with what the script asks for, and neither net-tools nor resolvconf."""
    for name in ("bin", "etc/network/interfaces.d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/network/interfaces").write_text("source /etc/network/interfaces.d/*\n")
    (tmp_path / "etc/network/interfaces.d/50-cloud-init").write_text(INTERFACES)
    (tmp_path / "etc/resolv.conf").write_text("nameserver 198.51.100.1\n")
    for program in ("ip", "grep"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or program)
    return tmp_path


def run(root: Path, text: str) -> list[str]:
    """It runs twice in a namespace with one card, as in two boots; the ways out that there are in the end."""
    for name in ("etc/network/interfaces", "etc/resolv.conf"):
        text = text.replace(f"=/{name}", f"={root}/{name}")
    text = text.replace("PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={root}/bin")
    apart = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net"]
    argv = [*apart, "sh", "-c", _CARD, "sh", "/bin/sh", "-c", text]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return [" ".join(line.split()[:5]) for line in done.stdout.splitlines()]


def test_the_disc_says_what_is_written_down() -> None:
    """Before all that is the user's, and of every card; where DHCP tells it nothing is said."""
    found = parts(dataclasses.replace(BOTH, more=(Network(mac="52:54:00:00:00:09"),)))
    assert list(found)[:2] == ["vmrole-setup-begin", "vmrole-network"]
    kind, text = found["vmrole-network"]
    assert kind == "text/cloud-boothook"
    assert "ways='192.0.2.1 fd12:3456:789a:1::1'\nservers='192.0.2.53 192.0.2.54'\n" in text
    assert "searched='corp.example'\n" in text
    assert "vmrole-network" not in parts(ANSWERS)


def test_ways_out_and_name_servers_are_added(root: Path) -> None:
    """Once, of either family, and again at each boot: what is there of the image's builder is replaced."""
    ways = run(root, parts(BOTH)["vmrole-network"][1])
    assert ways == ["default via 192.0.2.1 dev eth0", "default via fd12:3456:789a:1::1 dev eth0"]
    assert (root / "etc/resolv.conf").read_text() == NAMES


def test_who_can_do_it_is_left_alone(root: Path) -> None:
    """net-tools and resolvconf, whoever has the file of name servers by a link, and systems without ifupdown."""
    text = parts(WRITTEN)["vmrole-network"][1]
    for program in ("route", "resolvconf"):
        (root / "bin" / program).symlink_to("/bin/true")
    assert run(root, text) == []
    assert (root / "etc/resolv.conf").read_text() == "nameserver 198.51.100.1\n"
    for program in ("route", "resolvconf"):
        (root / "bin" / program).unlink()
    (root / "etc/resolv.conf").rename(root / "stub")
    (root / "etc/resolv.conf").symlink_to("../stub")
    assert run(root, text) == ["default via 192.0.2.1 dev eth0"]
    assert (root / "stub").read_text() == "nameserver 198.51.100.1\n"
    shutil.rmtree(root / "etc/network")
    assert run(root, text) == []
