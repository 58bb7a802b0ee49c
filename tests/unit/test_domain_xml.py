"""Domain XML: golden files, libvirt's own schema, and texts that must stay texts."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from orchestrator.drivers import domain_xml
from orchestrator.drivers.domain_xml import Accelerator, DomainPaths, Machine, Ownership
from orchestrator.drivers.layout import Layout
from orchestrator.errors import ConfigError, InvalidInput
from orchestrator.model import (
    DiskFormat,
    Goal,
    Instance,
    InstanceName,
    LocalStorage,
    Nic,
    Role,
    Size,
    instance_name,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "domain"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
LAYOUT = Layout(Path("/var/lib/vmrole"), Path("/run/vmrole"))
TCG = Machine(accelerator=Accelerator.TCG)
KVM = Machine(accelerator=Accelerator.KVM)


def instance(**changes: object) -> Instance:
    """web-0.shop in its first generation."""
    role = Role(name="web", image="micro", image_sha256="ab" * 32, size=Size(vcpus=2, memory_mib=256))
    plain = Instance(
        name=instance_name("shop", "web", 0),
        uid="6a4b1a54-3c1e-4a07-9d2c-0123456789ab",
        service="shop",
        role_name="web",
        index=0,
        network="vmrole-shop",
        nic=Nic(mac="52:54:00:12:34:56", address="10.77.0.10", tap="vr-shop-0"),
        goal=Goal(role=role),
        role=role,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def paths(of: Instance, *, disc: bool = True) -> DomainPaths:
    """Where the layout puts the parts."""
    return DomainPaths(
        overlay=LAYOUT.overlay(of),
        image=LAYOUT.image(of.role.image_sha256, of.role.image_format),
        image_format=of.role.image_format,
        local_storage={each.name: LAYOUT.local_storage(of.name, each.name) for each in of.role.local_storage},
        disc=LAYOUT.disc(of) if disc else None,
        console=LAYOUT.console(of.name),
        monitor=LAYOUT.monitor(of.name),
    )


def with_storage(of: Instance, count: int) -> Instance:
    """The instance with that many local storage disks."""
    storage = tuple(LocalStorage(name=f"data-{number}", size_mib=64) for number in range(count))
    return dataclasses.replace(of, role=dataclasses.replace(of.role, local_storage=storage))


def raw(of: Instance) -> Instance:
    """The instance on a raw image."""
    return dataclasses.replace(of, role=dataclasses.replace(of.role, image_format=DiskFormat.RAW))


CASES = {
    "setup-tcg": (instance(), True, TCG),
    "setup-kvm": (instance(), True, KVM),
    "later-boot": (instance(generation=7), False, TCG),
    "local-storage": (with_storage(instance(), 2), True, TCG),
    "raw-image-pc": (raw(instance()), True, Machine(accelerator=Accelerator.KVM, machine="pc", emulator="/opt/qemu")),
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


def test_disc_is_found_and_taken_out() -> None:
    """The disc in the drive is found in the XML; an empty drive has none."""
    of = instance()
    assert domain_xml.disc_of(domain_xml.render(of, paths(of), TCG)) == str(LAYOUT.disc(of))
    assert domain_xml.disc_of(domain_xml.render(of, paths(of, disc=False), TCG)) == ""
    assert "source" not in domain_xml.empty_drive()


def test_each_generation_is_another_machine() -> None:
    """UUID, genid and overlay are new in each generation; the name and the console stay."""
    first, second = (
        etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
        for of in (instance(generation=1), instance(generation=2))
    )
    for tag in ("uuid", "genid"):
        assert first.findtext(tag) != second.findtext(tag)
    assert first.findtext("name") == second.findtext("name")
    sources = [root.xpath("string(devices/disk[@device='disk']/source/@file)") for root in (first, second)]
    assert sources == ["/var/lib/vmrole/overlays/web-0.shop/1.qcow2", "/var/lib/vmrole/overlays/web-0.shop/2.qcow2"]


def test_many_disks_get_the_letters_that_linux_uses() -> None:
    """The 26th data disk is vdaa, after vdz."""
    of = with_storage(instance(), 26)
    root = etree.fromstring(domain_xml.render(of, paths(of), TCG).encode())
    targets = [target.get("dev") for target in root.iterfind("devices/disk[@device='disk']/target")]
    assert targets == ["vda", *(f"vd{chr(ord('a') + number)}" for number in range(1, 26)), "vdaa"]


@pytest.mark.parametrize("name", ["web-0", "../x.shop", "web-0.shop/..", "web-0..", ".shop", "web-0.shop.x"])
def test_no_path_leaves_its_root(name: str) -> None:
    """A name that is not two labels makes no path."""
    with pytest.raises((AssertionError, InvalidInput)):
        LAYOUT.overlay_dir(InstanceName(name))


def test_long_run_directory_is_refused() -> None:
    """A monitor's socket fits into what the kernel takes, or the daemon refuses to start."""
    assert len(str(LAYOUT.monitor(instance().name))) <= 107
    with pytest.raises(ConfigError, match="107"):
        Layout(Path("/var/lib/vmrole"), Path("/run") / ("x" * 90)).monitor(instance().name)
