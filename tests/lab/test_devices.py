"""Machines as roles ask for them: real virtual machines, looked at from within and as libvirt has them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from lxml import etree

from tests.lab.harness.lab import Lab
from tests.lab.harness.places import HOST
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, ready

__all__ = ["ready"]  # fixtures
DEVICES = "{cpuModel: Nehalem, sockets: 2, threads: 2, diskCache: writethrough, screen: true}"
SERVICE = f"""service: shop
roles:
  web:
    image: micro
    size: {{vcpus: 4, memory: 128 MiB}}
    devices: {DEVICES}
    libvirt:
      xml: |
        <domain>
          <cpu><feature name='sse4.2' policy='disable'/></cpu>
          <sysinfo type='smbios'><system><entry name='serial'>A-1 of the lab</entry></system></sysinfo>
          <devices><watchdog model='i6300esb' action='reset'/><input type='tablet' bus='virtio'/></devices>
        </domain>
    localStorage: {{cache: {{size: 32 MiB}}}}
    setup: {{within: 15 min}}
    ready: {{within: 10 min}}
"""


def live(lab: Lab, name: str = "web-0.shop") -> etree._Element:
    """The VM as libvirt has it."""
    return etree.fromstring(lab.virsh("dumpxml", name).encode())


def refused(ready: RoleDaemon, was: str, becomes: str) -> str:
    """What apply says of the file when that stands in it instead."""
    assert was in SERVICE
    answer = ready.run("apply", "-f", "-", text=SERVICE.replace(was, becomes), check=False)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    return answer.stderr


def domains_and_files(lab: Lab) -> list[str]:
    """What libvirt knows of, and what lies where it keeps that."""
    places = (Path(place) for place in ("/etc/libvirt/qemu", "/var/lib/libvirt/qemu", "/run/libvirt/qemu"))
    known = (lab.virsh(*verb).strip() for verb in (("list", "--all", "--name"), ("net-list", "--all", "--name")))
    return [*known, *sorted(str(each) for place in places for each in place.rglob("*"))]


def test_a_guest_has_the_machine_that_its_role_asks_for(lab: Lab, ready: RoleDaemon) -> None:
    """Its processor, as the guest sees it, and the cache of each of its disks; what this host has not is refused."""
    told = refused(ready, "Nehalem", "Nonesuch-v7")
    assert "guests of this host cannot have a processor Nonesuch-v7" in told
    assert "Nehalem" in told, "which they can have"

    told = refused(ready, "<watchdog", "<hostdev mode='subsystem' type='pci'/><watchdog")
    assert "domain/devices may not have <hostdev> in it" in told

    before = domains_and_files(lab)
    told = refused(ready, "name='sse4.2'", "name='nonesuch'")
    assert "roles.web.libvirt.xml: libvirt takes no VM with it" in told
    assert "unknown CPU feature: nonesuch" in told, "libvirt's own words"
    assert "stdin:8:" in told
    assert domains_and_files(lab) == before, "nothing is left of having asked"

    apply(ready, SERVICE)
    seen = lab.guest("web-0.shop", ["/bin/cat", "/proc/cpuinfo"])
    assert len(re.findall(r"^processor\s*:", seen, re.MULTILINE)) == 4
    assert "Nehalem" in seen
    sockets, cores, siblings = (
        re.findall(rf"^{name}\s*: (\d+)", seen, re.MULTILINE) for name in ("physical id", "cpu cores", "siblings")
    )
    assert (set(sockets), set(cores), set(siblings)) == ({"0", "1"}, {"1"}, {"2"})

    assert "sse4_1" in seen
    assert "sse4_2" not in seen, "as its extra XML says"
    serial = lab.guest("web-0.shop", ["/bin/cat", "/sys/class/dmi/id/product_serial"])
    assert serial.strip() == "A-1 of the lab"

    domain = live(lab)
    assert [one.get("action") for one in domain.iterfind("devices/watchdog")] == ["reset"]
    assert "tablet" in [one.get("type") for one in domain.iterfind("devices/input")]
    writable = [disk for disk in domain.iterfind("devices/disk[@device='disk']") if disk.find("readonly") is None]
    assert [disk.find("driver").get("cache") for disk in writable] == ["writethrough"] * 2  # type: ignore[union-attr]
    ready.run("diff", "-f", "-", text=SERVICE)


def test_a_screen_is_seen_by_root_on_its_host_alone(lab: Lab, ready: RoleDaemon) -> None:
    """By VNC at a socket that nobody else comes to, and at no port; who has no screen is told what to say."""
    apply(ready, SERVICE)
    path = Path(ready.run("console", "web-0", "--vnc").stdout.strip())
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.settimeout(30)
        viewer.connect(str(path))
        assert viewer.recv(12) == b"RFB 003.008\n"
    somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    assert HOST.run([*somebody, "test", "-e", "/"], check=False).returncode == 0
    assert HOST.run([*somebody, "test", "-e", str(path)], check=False).returncode == 1
    graphics = live(lab).findall("devices/graphics")
    assert [(one.get("type"), one.get("port"), one.get("socket")) for one in graphics] == [("vnc", None, str(path))]

    apply(ready, SERVICE.replace(", screen: true", ""))
    answer = ready.run("console", "web-0", "--vnc", check=False)
    assert (answer.returncode, "devices: {screen: true}" in answer.stderr) == (3, True), answer.stderr
