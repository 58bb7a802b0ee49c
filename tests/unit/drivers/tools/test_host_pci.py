"""Devices of the host's that its owner gives, on made trees of sysfs and proc."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.tools import host_pci
from orchestrator.drivers.tools.host_pci import HostPci
from orchestrator.errors import Transient
from orchestrator.model import Devices, Goal, Instance
from orchestrator.model.pci import Passed, PciDevice
from tests.world.instances import instance

GPU, SOUND, CARD, NVME, PORT = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0", "0000:00:01.0"


class Bus:
    """A host with a GPU and its sound behind one port of the board, a card, and an NVMe drive."""

    def __init__(self, place: Path) -> None:
        self.sys, self.proc = place / "sys", place / "proc"
        for each in ("bus/pci/devices", "class/net", "class/block", "dev/block", "kernel/iommu_groups"):
            (self.sys / each).mkdir(parents=True)
        for each in ("net", "1"):
            (self.proc / each).mkdir(parents=True)
        (self.proc / "net/route").write_text("Iface\tDestination\tGateway\n")
        self.add(PORT, "8086:1901", "0604", 1, driver="pcieport")
        self.add(GPU, "10de:2204", "0300", 1)
        self.add(SOUND, "10de:1aef", "0403", 1, driver="snd_hda_intel")
        self.add(CARD, "8086:1533", "0200", 2, driver="igb")
        self.add(NVME, "144d:a808", "0108", 3, driver="nvme")

    def add(self, address: str, kind: str, code: str, group: int | None, driver: str = "") -> Path:
        """A device."""
        place = self.sys / "devices/pci0000:00" / address
        place.mkdir(parents=True)
        vendor, device = kind.split(":")
        for name, text in (("vendor", f"0x{vendor}\n"), ("device", f"0x{device}\n"), ("class", f"0x{code}00\n")):
            (place / name).write_text(text)
        (self.sys / "bus/pci/devices" / address).symlink_to(place)
        if driver:
            (drivers := self.sys / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (place / "driver").symlink_to(drivers)
        if group is not None:
            (members := self.sys / f"kernel/iommu_groups/{group}/devices").mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(place)
            (place / "iommu_group").symlink_to(members.parent)
        return place

    def place(self, address: str) -> Path:
        """Where a device lies."""
        return self.sys / "devices/pci0000:00" / address

    def block(self, address: str, disk: str, part: str, number: str) -> None:
        """A disk behind the device, with one part of that number."""
        (place := self.place(address) / "block" / disk / part).mkdir(parents=True)
        (self.sys / "class/block" / disk).symlink_to(place.parent)
        (self.sys / "class/block" / part).symlink_to(place)
        (self.sys / "dev/block" / number).symlink_to(place)

    def card(self, address: str, name: str) -> None:
        """An interface of the device."""
        (place := self.place(address) / "net" / name).mkdir(parents=True)
        (self.sys / "class/net" / name).symlink_to(place)

    def over(self, name: str, *lower: str) -> None:
        """An interface that is made of others."""
        (self.sys / "class/net" / name).mkdir()
        for each in lower:
            (self.sys / "class/net" / name / f"lower_{each}").symlink_to(self.sys / "class/net" / each)

    def routes(self, name: str) -> None:
        """The way to everywhere leads by that."""
        (self.proc / "net/route").write_text(
            f"Iface\tDestination\tGateway\n{name}\t00000000\t010200C0\nother\t0002A8C0\t00000000\n"
        )

    def mounts(self, number: str, source: str) -> None:
        """Something is mounted."""
        (self.proc / "1/mountinfo").write_text(f"22 1 {number} / / rw,relatime shared:1 - ext4 {source} rw\n")

    def look(self, *given: str, keeps: tuple[str, ...] = ()) -> dict[str, PciDevice]:
        """What the owner of that host gives, by address."""
        found = HostPci(given, keeps, self.sys, self.proc).look()
        return {one.address: one for one in found.devices}


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    """A host whose devices are its guests' to have."""
    return Bus(tmp_path)


def test_what_is_given_is_found_by_each_of_its_names(bus: Bus) -> None:
    """And nothing else; where nothing is given nobody looks."""
    for name in (CARD, "02:00.0", "8086:1533", "8086:1533".upper(), "class:0200"):
        assert bus.look(name) == {CARD: PciDevice(address=CARD, kind="8086:1533", code="0200")}
    assert bus.look("10de:9999") == {}
    assert HostPci((), (), Path("/nonesuch"), Path("/nonesuch")).look().devices == ()
    assert HostPci(("01:00.0",), (), bus.sys, bus.proc).look().given == (GPU,)


def test_a_group_goes_together(bus: Bus) -> None:
    """A mate must be given as well; the port that leads there stays."""
    alone = bus.look(GPU)[GPU]
    assert f"{GPU} is in one IOMMU group with {SOUND}, which this host's owner does not give" in alone.fault
    assert "add that to pci in vmrole.toml" in alone.hint
    both = bus.look("10de:2204", "10de:1aef")
    assert (both[GPU].fault, both[GPU].mates) == ("", (SOUND,))
    assert (both[SOUND].fault, both[SOUND].mates) == ("", (GPU,))
    (bus.place(PORT) / "driver").unlink()
    (bus.place(PORT) / "driver").symlink_to(bus.sys / "bus/pci/drivers/igb")
    assert f"with {PORT}, which" in bus.look("10de:2204", "10de:1aef")[GPU].fault


def test_without_an_iommu_nothing_is_passed_on(bus: Bus) -> None:
    """Neither where there is none for that device alone."""
    bus.add("0000:04:00.0", "8086:1533", "0200", None)
    assert "it is in no IOMMU group" in bus.look("04:00.0")["0000:04:00.0"].fault
    for group in list((bus.sys / "kernel/iommu_groups").iterdir()):
        for each in (group / "devices").iterdir():
            each.unlink()
        (group / "devices").rmdir()
        group.rmdir()
    found = bus.look("04:00.0")["0000:04:00.0"]
    assert "this host has no IOMMU that is on" in found.fault
    assert "intel_iommu=on" in found.hint


def test_a_bridge_is_no_device(bus: Bus) -> None:
    """What is behind it would go with it."""
    assert "is a bridge" in bus.look(PORT)[PORT].fault


def test_a_card_with_virtual_functions_stays(bus: Bus) -> None:
    """They may be others'."""
    (bus.place(CARD) / "sriov_numvfs").write_text("0\n")
    assert bus.look(CARD)[CARD].fault == ""
    (bus.place(CARD) / "sriov_numvfs").write_text("4\n")
    assert "has 4 virtual functions" in bus.look(CARD)[CARD].fault


def test_the_host_keeps_its_way_out(bus: Bus) -> None:
    """A card, also below a bridge or a bond, by which the host's default route leads; and where VIPs are."""
    bus.card(CARD, "eth0")
    assert bus.look(CARD)[CARD].fault == ""
    assert "its network is reached by eth0" in bus.look(CARD, keeps=("eth0", ""))[CARD].fault
    bus.routes("eth0")
    assert f"{CARD} is the host's own: its network is reached by eth0" in bus.look(CARD)[CARD].fault
    bus.over("bond0", "eth0")
    bus.over("br0", "bond0")
    bus.routes("br0")
    assert "its network is reached by eth0" in bus.look(CARD)[CARD].fault
    bus.routes("other")
    assert bus.look(CARD)[CARD].fault == ""
    zero = "0" * 32
    (bus.proc / "net/ipv6_route").write_text(
        f"{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 1 0 00000003     eth0\n"
    )
    assert "its network is reached by eth0" in bus.look(CARD)[CARD].fault


def test_the_host_keeps_its_disks(bus: Bus) -> None:
    """What is mounted or swapped to, also where something lies between: a volume, an array."""
    bus.block(NVME, "nvme0n1", "nvme0n1p2", "259:2")
    bus.mounts("0:25", "tmpfs")
    assert bus.look(NVME)[NVME].fault == ""
    bus.mounts("259:2", "/dev/root")
    assert f"{NVME} is the host's own: it holds nvme0n1p2, which is in use" in bus.look(NVME)[NVME].fault
    (volume := bus.sys / "devices/virtual/block/dm-0/slaves").mkdir(parents=True)
    (volume / "nvme0n1p2").symlink_to(bus.sys / "class/block/nvme0n1p2")
    (bus.sys / "class/block/dm-0").symlink_to(volume.parent)
    (bus.sys / "dev/block/253:0").symlink_to(volume.parent)
    bus.mounts("253:0", "/dev/mapper/root")
    assert "it holds nvme0n1p2" in bus.look(NVME)[NVME].fault
    bus.mounts("0:30", "/dev/nvme0n1p2")  # btrfs has a number of its own
    assert "it holds nvme0n1p2" in bus.look(NVME)[NVME].fault
    bus.mounts("0:25", "tmpfs")
    (bus.proc / "swaps").write_text("Filename Type Size\n/dev/nvme0n1p2 partition 1 0 -2\n")
    assert "it holds nvme0n1p2" in bus.look(NVME)[NVME].fault


def test_a_mate_that_the_host_needs_keeps_it(bus: Bus) -> None:
    """For both would go."""
    bus.card(SOUND, "eth7")
    bus.routes("eth7")
    assert f"and {SOUND} is the host's own" in bus.look(GPU, SOUND)[GPU].fault


def holder(*passed: Passed) -> Instance:
    """An instance whose role names the card."""
    one = instance()
    role = replace(one.role, devices=Devices(pci=("8086:1533",)))
    return replace(one, role=role, goal=Goal(role=role, passed=passed))


def test_who_starts_has_what_he_was_given(bus: Bus) -> None:
    """Nothing else that came to lie there, nothing that is the host's by now, and not less."""
    card = Passed(wanted="8086:1533", address=CARD, kind="8086:1533")
    one = holder(card)
    host_pci.require(one, bus.sys, bus.proc)
    host_pci.require(instance(), Path("/nonesuch"), Path("/nonesuch"))
    with pytest.raises(Transient, match="no device of the host is free for 8086:1533"):
        host_pci.require(holder(), bus.sys, bus.proc)
    with pytest.raises(Transient, match=r"there is no PCI device 0000:07:00\.0") as gone:
        host_pci.require(holder(replace(card, address="0000:07:00.0")), bus.sys, bus.proc)
    assert "lspci" in gone.value.hint
    with pytest.raises(Transient, match=f"{GPU} is 10de:2204 by now, and was 8086:1533"):
        host_pci.require(holder(replace(card, address=GPU)), bus.sys, bus.proc)
    bus.card(CARD, "eth0")
    bus.routes("eth0")
    with pytest.raises(Transient, match="is the host's own"):
        host_pci.require(one, bus.sys, bus.proc)
