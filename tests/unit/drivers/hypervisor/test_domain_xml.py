"""Domain XML: golden files, libvirt's own schema, and texts that must stay texts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from orchestrator.drivers.hypervisor import domain_board, domain_devices, domain_xml
from orchestrator.drivers.hypervisor.domain_parts import QEMU
from orchestrator.drivers.hypervisor.domain_xml import Accelerator, DomainPaths, MachineType, Ownership
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ConfigError, InvalidInput
from orchestrator.model import (
    Attachment,
    Devices,
    DiskBus,
    DiskCache,
    DiskFormat,
    Firmware,
    Hardware,
    Instance,
    InstanceName,
    Limits,
    LocalStorage,
    Nic,
    Os,
    RoleDrive,
    RoleNetwork,
)
from orchestrator.model.pci import Passed
from orchestrator.model.share import Share
from tests.world.instances import instance
from tests.world.places import GOLDEN_FILES

GOLDEN = GOLDEN_FILES / "domain"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
LAYOUT = Layout(Path("/var/lib/vmrole"), Path("/run/vmrole"))
TCG = MachineType(accelerator=Accelerator.TCG)
KVM = MachineType(accelerator=Accelerator.KVM)


def paths(of: Instance, *, disc: bool = True) -> DomainPaths:
    """Where the layout puts the parts."""
    return DomainPaths(
        overlay=LAYOUT.overlay(of),
        image=LAYOUT.image(of.role.image_sha256, of.role.image_format),
        image_format=of.role.image_format,
        local_storage=LAYOUT.disks(of),
        bare=LAYOUT.bare_disks(of),
        disc=LAYOUT.disc(of) if disc else None,
        console=LAYOUT.console(of.name),
        monitor=LAYOUT.monitor,
        channel=LAYOUT.channel,
        share_server=LAYOUT.share_server,
        nvram=None if of.role.hardware.firmware is Firmware.BIOS else LAYOUT.nvram(of),
    )


def with_storage(of: Instance, count: int) -> Instance:
    """The instance with that many local storage disks."""
    storage = tuple(LocalStorage(name=f"data-{number}", size_mib=64) for number in range(count))
    return dataclasses.replace(of, role=dataclasses.replace(of.role, local_storage=storage))


def raw(of: Instance) -> Instance:
    """The instance on a raw image."""
    return dataclasses.replace(of, role=dataclasses.replace(of.role, image_format=DiskFormat.RAW))


def windows(of: Instance, hardware: Hardware = Hardware()) -> Instance:  # noqa: B008 - frozen
    """The instance on a Windows image that wants such a machine."""
    return dataclasses.replace(of, role=dataclasses.replace(of.role, os=Os.WINDOWS, hardware=hardware))


def on(of: Instance, hardware: Hardware) -> Instance:
    """The instance on a Linux image that wants such a machine."""
    return dataclasses.replace(of, role=dataclasses.replace(of.role, hardware=hardware))


def limited(of: Instance) -> Instance:
    """The instance with every limit said."""
    limits = Limits(
        cpu_weight=50, cpu_limit_percent=40, disk_rate_mib_per_s=30, disk_operations=200, network_rate_mib_per_s=10
    )
    return dataclasses.replace(of, role=dataclasses.replace(of.role, limits=limits))


def wired(of: Instance, network: RoleNetwork) -> Instance:
    """The instance with such a network."""
    return dataclasses.replace(of, role=dataclasses.replace(of.role, network=network))


def with_devices(of: Instance, devices: Devices, vcpus: int = 4) -> Instance:
    """The instance with such a machine around it."""
    size = dataclasses.replace(of.role.size, vcpus=vcpus)
    return dataclasses.replace(of, role=dataclasses.replace(of.role, devices=devices, size=size))


DEVICES = Devices(cpu_model="Nehalem", sockets=2, screen=True, disk_cache=DiskCache.NONE, hugepages=True)
EXTRA = (
    "<domain><features><pmu state='off'/></features><cpu><feature name='aes' policy='disable'/></cpu>"
    "<clock><timer name='hpet' present='yes'/></clock><sysinfo type='smbios'><system><entry name='serial'>A-1</entry>"
    "</system></sysinfo><devices><input type='tablet' bus='virtio'/><watchdog model='i6300esb' action='reset'/>"
    "</devices></domain>"
)


def extra(of: Instance, xml: str = EXTRA) -> Instance:
    """The instance with that of its own in its domain."""
    return dataclasses.replace(of, role=dataclasses.replace(of.role, libvirt_xml=xml))


def sharing(of: Instance) -> Instance:
    """The instance with two directories of the host's."""
    shares = (Share(name="data", source="/srv/data", mount="/data"), Share(name="tools", source="/opt/tools"))
    return dataclasses.replace(of, role=dataclasses.replace(of.role, shares=shares))


def passed_to(of: Instance) -> Instance:
    """The instance with a GPU, and its sound with it, and with a card for itself."""
    role = dataclasses.replace(of.role, devices=Devices(pci=("10de:2204", "0001:42:1f.3")))
    passed = (
        Passed(wanted="10de:2204", address="0000:01:00.0", kind="10de:2204"),
        Passed(wanted="10de:2204", address="0000:01:00.1", kind="10de:1aef"),
        Passed(wanted="0001:42:1f.3", address="0001:42:1f.3", kind="8086:1533"),
        Passed(wanted="class:0300", address="0000:09:00.0", kind="1002:7310"),
    )
    return dataclasses.replace(of, role=role, goal=dataclasses.replace(of.goal, passed=passed))


ON_A_BRIDGE = RoleNetwork(bridge="br0.7", addresses=("192.0.2.10/24",), mtu=9000)
LIMITED = dataclasses.replace(KVM, shares_cpus=True, shapes_traffic=True)
SECURE_TPM_SATA = Hardware(firmware=Firmware.SECURE_BOOT, disk_bus=DiskBus.SATA, tpm=True)
CASES = {
    "setup-tcg": (instance(), True, TCG),
    "setup-kvm": (instance(), True, KVM),
    "later-boot": (instance(generation=7), False, TCG),
    "local-storage": (with_storage(instance(), 2), True, TCG),
    "raw-image-pc": (
        raw(instance()),
        True,
        MachineType(accelerator=Accelerator.KVM, machine="pc", emulator="/opt/qemu"),
    ),
    "linux-uefi-nvme": (
        on(with_storage(instance(), 1), Hardware(firmware=Firmware.UEFI, disk_bus=DiskBus.NVME)),
        True,
        TCG,
    ),
    "linux-uefi-of-secure-builds": (
        on(instance(), Hardware(firmware=Firmware.UEFI)),
        True,
        dataclasses.replace(TCG, secure_uefi_alone=True),
    ),
    "limits": (limited(instance()), True, LIMITED),
    "bridge": (limited(wired(instance(), ON_A_BRIDGE)), True, LIMITED),
    "mtu": (wired(instance(), RoleNetwork(mtu=1400)), True, TCG),
    "devices-tcg": (with_devices(with_storage(instance(), 1), DEVICES), True, TCG),
    "devices-kvm": (with_devices(instance(), DEVICES), True, KVM),
    "windows-threads": (windows(with_devices(instance(), Devices(threads=2, screen=True))), True, KVM),
    "extra": (extra(instance()), True, TCG),
    "shares": (sharing(instance()), True, TCG),
    "pci": (passed_to(with_storage(instance(), 1)), True, KVM),
    "shares-huge-pages": (sharing(with_devices(instance(), Devices(hugepages=True))), False, KVM),
    "windows-extra": (extra(windows(instance())), True, KVM),
    "windows-tcg": (windows(instance()), True, TCG),
    "windows-kvm": (windows(with_storage(instance(), 1), SECURE_TPM_SATA), True, KVM),
    "windows-nvme-later-boot": (windows(with_storage(instance(), 1), Hardware(disk_bus=DiskBus.NVME)), False, KVM),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """The XML of each kind of domain is exactly the one that was reviewed (GOLDEN=1 writes them anew)."""
    of, disc, machine = CASES[name]
    found = domain_xml.render(of, paths(of, disc=disc), machine)
    golden = GOLDEN / f"{name}.xml"
    if os.environ.get("GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()


def test_no_golden_file_is_left_over() -> None:
    """Every golden file is compared by a case."""
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    """libvirt's grammar of a domain, as installed."""
    return etree.RelaxNG(etree.parse(SCHEMA))


@pytest.mark.parametrize("name", CASES)
def test_valid_by_libvirts_schema(name: str, schema: etree.RelaxNG) -> None:
    """libvirt's own grammar accepts every kind of domain, and refuses one with an element that it does not know."""
    of, disc, machine = CASES[name]
    document = etree.fromstring(domain_xml.render(of, paths(of, disc=disc), machine).encode())
    assert schema.validate(document), schema.error_log
    etree.SubElement(document, "surprise")
    assert not schema.validate(document)


def skeleton(xml: str) -> list[str]:
    """The elements in order and the names of their attributes: all that no text may change."""
    found = []
    for element in etree.fromstring(xml.encode()).iter():
        assert isinstance(element.tag, str), "a comment or an instruction came in"
        found.append(f"{element.tag} {sorted(str(name) for name in element.attrib)}")
    return found


@pytest.mark.slow
@settings(deadline=None)
@given(text=st.text(min_size=1))
def test_texts_stay_texts(text: str) -> None:
    """Whatever a text field holds, the elements stay the same, and it is read back as it was; or it is refused."""
    of = instance(service=text, network=text, nic=Nic(mac=text, address=text, tap=text))
    expected = skeleton(domain_xml.render(instance(), paths(instance()), TCG))
    try:
        found = domain_xml.render(of, paths(instance()), TCG)
    except ValueError:
        assert any(ord(character) < 0x20 or ord(character) >= 0xD800 for character in text)
        return
    assert skeleton(found) == expected
    root = etree.fromstring(found.encode())
    back = root.find("devices/interface/source")
    assert back is not None
    assert back.get("network") == text


def test_extra_xml_is_looked_at_again() -> None:
    """A record is no word of ours: what would not be let through from a file is not from one either."""
    hostile = extra(instance(), "<domain><devices><emulator>/bin/sh</emulator></devices></domain>")
    with pytest.raises(InvalidInput, match="domain/devices may not have <emulator> in it"):
        domain_xml.render(hostile, paths(instance()), TCG)


def test_extra_xml_takes_the_place_of_ours_of_that_name() -> None:
    """A timer of a Windows is there once, as it was asked for; everything else is as it was."""
    of = windows(instance())
    plain, merged = (etree.fromstring(domain_xml.render(each, paths(of), KVM).encode()) for each in (of, extra(of)))
    timers = {one.get("name"): one.get("present") for one in merged.iterfind("clock/timer")}
    assert len(merged.findall("clock/timer")) == len(plain.findall("clock/timer")) == len(timers)
    assert timers["hpet"] == "yes"
    for tag in ("disk", "interface", "channel", "serial", "emulator", "rng", "panic"):
        now, was = (
            [etree.tostring(one, with_tail=False) for one in root.iterfind(f"devices/{tag}")]
            for root in (merged, plain)
        )
        assert now == was


def test_ownership_is_read_back() -> None:
    """What we write into a domain's metadata is what we read from it."""
    of = instance(generation=3)
    document = etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
    element = document.find(f"metadata/{{{domain_xml.NAMESPACE}}}instance")
    assert element is not None
    assert domain_xml.ownership(etree.tostring(element, encoding="unicode")) == Ownership(
        name=of.name, service="shop", role="web", generation=3, uid=of.uid, image_sha256="ab" * 32
    )


@pytest.mark.parametrize("text", ["", "<x", "<x/>", "<instance name='web-0.shop' generation='many'/>"])
def test_other_metadata_is_not_ours(text: str) -> None:
    """Metadata that we did not write makes no domain ours."""
    assert domain_xml.ownership(text) is None


def test_a_domain_says_whose_it_is() -> None:
    """The installation's id lies in the metadata; a domain of a former version has none and can be read."""
    ours = dataclasses.replace(TCG, installation="8e1f9e4c-2f64-4e44-9d55-2f1d0a6b7c11")
    for machine in (TCG, ours):
        document = etree.fromstring(domain_xml.render(instance(), paths(instance()), machine).encode())
        element = document.find(f"metadata/{{{domain_xml.NAMESPACE}}}instance")
        assert element is not None
        read = domain_xml.ownership(etree.tostring(element, encoding="unicode"))
        assert read is not None
        assert read.installation == machine.installation


def test_disc_is_found_and_taken_out() -> None:
    """The disc in a drive is found in the XML; an empty drive has none."""
    of = on(instance(), Hardware(disk_bus=DiskBus.SATA))
    found = domain_xml.render(of, paths(of), TCG)
    assert domain_devices.disc_of(found) == str(LAYOUT.disc(of))
    assert domain_devices.disc_of(domain_xml.render(of, paths(of, disc=False), TCG)) == ""
    assert "source" not in domain_devices.empty_drive(found)


@pytest.mark.parametrize("bus", [DiskBus.VIRTIO, DiskBus.NVME])
def test_a_linux_has_its_disc_on_the_bus_of_its_disk(bus: DiskBus) -> None:
    """So that whoever finds the one finds the other: a disk, read-only, behind all others; nothing without a disc."""
    of = on(with_storage(instance(), 2), Hardware(disk_bus=bus))
    found = domain_xml.render(of, paths(of), TCG)
    assert domain_devices.disc_of(found) == domain_devices.answer_disk_of(found) == str(LAYOUT.disc(of))
    assert domain_devices.empty_drive(found) == ""
    root = etree.fromstring(found.encode())
    *others, disc = root.findall("devices/disk")
    assert (disc.findtext("serial"), disc.get("device")) == ("answers", "disk")
    assert disc.find("readonly") is not None
    assert [one.find("readonly") for one in others] == [None, None, None]
    aliases = {one.get("alias") for one in root.iterfind(f"{{{QEMU}}}override/{{{QEMU}}}device")}
    assert (disc.find("alias").get("name") in aliases) is (bus is DiskBus.NVME)
    without = etree.fromstring(domain_xml.render(of, paths(of, disc=False), TCG).encode())
    names = [[one.get("dev") for one in each.iterfind("devices/disk/target")] for each in (root, without)]
    assert names == [["vda", "vdb", "vdc", "vdd"], ["vda", "vdb", "vdc"]]
    assert domain_devices.disc_of(etree.tostring(without, encoding="unicode")) == ""


def test_a_disc_in_a_drive_of_a_former_version_is_taken_out() -> None:
    """The drive that is emptied is the drive that is there: a VM that runs may be older than its daemon."""
    sata, scsi = (windows(instance()), "sata"), (on(instance(), Hardware(disk_bus=DiskBus.SATA)), "scsi")
    for of, bus in (sata, scsi):
        found = domain_xml.render(of, paths(of), TCG)
        found = found.replace('dev="sda" bus="sata"', f'dev="sda" bus="{bus}"')
        assert domain_devices.disc_of(found) == str(LAYOUT.disc(of))
        emptied = etree.fromstring(domain_devices.empty_drive(found).encode())
        before = etree.fromstring(found.encode()).find("devices/disk[@device='cdrom']")
        assert before is not None
        assert [(each.tag, dict(each.attrib)) for each in emptied] == [
            (each.tag, dict(each.attrib)) for each in before if each.tag != "source"
        ]
        assert emptied.xpath("string(target/@bus)") == bus


@pytest.mark.parametrize("bus", DiskBus)
@pytest.mark.parametrize("kind", [on, windows])
def test_no_two_disks_share_a_name(bus: DiskBus, kind: Callable[[Instance, Hardware], Instance]) -> None:
    """Whatever the bus, every disk and the disc have names of their own, and local storage its serial."""
    of = kind(with_storage(instance(), 7), Hardware(disk_bus=bus))
    root = etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
    names = [target.get("dev") for target in root.iterfind("devices/disk/target")]
    assert len(names) == 9
    assert len(set(names)) == 9
    serials = [serial.text for serial in root.iterfind("devices/disk/serial")]
    own = [serial for serial in serials if serial not in ("system", "answers")]
    assert own == [f"ls-data-{number}" for number in range(7)]


@pytest.mark.parametrize("bus", DiskBus)
def test_local_storage_is_where_the_guest_looks_for_it(bus: DiskBus) -> None:
    """A Linux finds it by the serial of a virtio disk; a Windows has a driver for its image's bus, maybe no other,
    and for SATA, which stands in for NVMe: of that it shows no serial number as it is.
    """
    for kind, expected in ((on, DiskBus.VIRTIO), (windows, DiskBus.SATA if bus is DiskBus.NVME else bus)):
        of = kind(with_storage(instance(), 2), Hardware(disk_bus=bus))
        root = etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
        local = root.xpath("devices/disk[starts-with(serial, 'ls-')]")
        assert [disk.findtext("serial") for disk in local] == ["ls-data-0", "ls-data-1"]
        assert {disk.find("target").get("bus") for disk in local} == {expected}
        assert not any(disk.find("alias") is not None for disk in local)
        overrides = root.findall(f"{{{QEMU}}}override/{{{QEMU}}}device")
        assert len(overrides) == (bus is DiskBus.NVME) * (1 + (kind is on))


def test_tcg_gets_nothing_of_hyper_v() -> None:
    """Hyper-V's interfaces are KVM's: a Windows under TCG is told of none."""
    for machine, expected in ((TCG, False), (KVM, True)):
        found = domain_xml.render(windows(instance()), paths(instance()), machine)
        assert ("hyperv" in found or "hypervclock" in found) is expected


def test_windows_does_without_what_a_kvm_has_not() -> None:
    """Where a kernel lacks some of Hyper-V's interfaces, Windows gets those that stand alone, and no clock."""
    told = "<domainCapabilities><features><hyperv supported='yes'><enum name='features'>{}</enum></hyperv></features>"
    told += "</domainCapabilities>"
    for values, expected in (
        ("<value>spinlocks</value><value>vendor_id</value>", ["spinlocks"]),
        ("", []),
        ("".join(f"<value>{name}</value>" for name in domain_board.HYPERV), list(domain_board.HYPERV)),
    ):
        machine = dataclasses.replace(KVM, hyperv=domain_board.supported_hyperv(told.format(values)))
        found = domain_xml.render(windows(instance()), paths(instance()), machine)
        root = etree.fromstring(found.encode())
        assert [each.tag for each in root.iterfind("features/hyperv/*")] == expected
        whole = len(expected) == len(domain_board.HYPERV)
        assert (root.find("clock/timer[@name='hypervclock']") is not None) is whole
        assert (root.find("devices/panic[@model='hyperv']") is not None) is whole
    assert domain_board.supported_hyperv("<domainCapabilities/>") is None


def test_each_generation_is_another_machine() -> None:
    """UUID, genid and overlay are new in each generation; the name and the console stay."""
    first, second = (
        etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
        for of in (instance(generation=1), instance(generation=2))
    )
    variables = [LAYOUT.nvram(instance(generation=number)) for number in (1, 2)]
    assert variables[0] != variables[1]
    for tag in ("uuid", "genid"):  # libvirt keeps a TPM's state under the UUID.
        assert first.findtext(tag) != second.findtext(tag)
    assert first.findtext("name") == second.findtext("name")
    sources = [root.xpath("string(devices/disk[@device='disk']/source/@file)") for root in (first, second)]
    assert sources == ["/var/lib/vmrole/overlays/web-0.shop/1.qcow2", "/var/lib/vmrole/overlays/web-0.shop/2.qcow2"]


def test_many_disks_get_the_letters_that_linux_uses() -> None:
    """The 26th data disk is vdaa, after vdz."""
    of = with_storage(instance(), 26)
    root = etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
    disks = root.xpath("devices/disk[not(readonly)]")
    targets = [disk.find("target").get("dev") for disk in disks]
    assert targets == ["vda", *(f"vd{chr(ord('a') + number)}" for number in range(1, 26)), "vdaa"]


@pytest.mark.parametrize("name", ["web-0", "../x.shop", "web-0.shop/..", "web-0..", ".shop", "web-0.shop.x"])
def test_no_path_leaves_its_root(name: str) -> None:
    """A name that is not two labels makes no path."""
    with pytest.raises((AssertionError, InvalidInput)):
        LAYOUT.overlay_dir(InstanceName(name))


def test_long_run_directory_is_refused() -> None:
    """A monitor's socket fits into what the kernel takes, or the daemon refuses to start."""
    assert str(LAYOUT.monitor) == "/run/vmrole/monitor.sock"
    with pytest.raises(ConfigError, match="107"):
        _ = Layout(Path("/var/lib/vmrole"), Path("/run") / ("x" * 90)).monitor


def test_each_qemu_is_told_to_come_again_in_its_own_words() -> None:
    """The monitor's option is of the QEMU that is there: later ones do not know the former word."""
    later = dataclasses.replace(TCG, reconnect="reconnect-ms=1000")
    for machine, words in ((TCG, ",server=off,reconnect=1"), (later, ",server=off,reconnect-ms=1000")):
        assert domain_xml.render(instance(), paths(instance()), machine).count(words) == 1


def test_a_drive_is_behind_local_storage_and_the_answer_disc_behind_both() -> None:
    """By the serial that a guest looks for; its file is the drive's of that number."""
    one = instance()
    role = dataclasses.replace(
        one.role,
        local_storage=(LocalStorage(name="cache", size_mib=64),),
        drives=(RoleDrive(name="data", drive="db-{index}"),),
    )
    by_hand = (Attachment(name="bare", drive="x"), Attachment(name="orders", drive="y", mounted=True))
    one = dataclasses.replace(one, role=role, goal=dataclasses.replace(one.goal, attached=by_hand))
    xml = etree.fromstring(domain_xml.render(one, paths(one), TCG).encode())
    disks = [
        (disk.findtext("serial"), disk.find("source").get("file"), disk.find("target").get("dev"))
        for disk in xml.iterfind("devices/disk")
        if disk.find("source") is not None
    ]
    assert [(serial, target) for serial, _, target in disks[1:]] == [
        ("ls-cache", "vdb"),
        ("ls-data", "vdc"),
        ("ls-orders", "vdd"),
        ("dr-bare", "vde"),
        ("answers", "vdf"),
    ]
    assert disks[2][1] == str(LAYOUT.drive(f"db-{one.index}"))
