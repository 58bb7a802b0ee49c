"""What a restored VM is described as, and what its overlay lies on: a chain told wrong is a disk that is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from lxml import etree

from orchestrator.drivers.hypervisor import domain_xml
from orchestrator.drivers.hypervisor.domain_parts import paths_of
from orchestrator.drivers.hypervisor.domain_xml import Accelerator, MachineType
from orchestrator.drivers.hypervisor.saved_memory import described, host_fit
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Permanent, Transient
from orchestrator.model import Digested, Firmware, Hardware, HostFit, Instance, Kept
from tests.contract.suites.stage import kept, next_generation
from tests.world.instances import instance

TCG = MachineType(accelerator=Accelerator.TCG)
FIT = HostFit(qemu="", cpu="", boot="")
BARE = instance(generation=3)
SAVED = kept(BARE, Kept(Digested("layer", 1), Digested("memory", 1)), FIT)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A state directory of its own."""
    return Layout(tmp_path / "lib", Path("/run/vmrole"))


def chain(xml: str) -> list[str]:
    """The files of the system disk, from the overlay down to where it says that it ends."""
    (disk,) = etree.fromstring(xml.encode()).xpath("devices/disk[@device='disk']")
    files, below = [], disk
    while (source := below.find("source")) is not None:
        files.append(source.get("file"))
        below = below.find("backingStore")
    assert len(below) == 0, "libvirt would look for what lies below in bytes that a guest wrote"
    return files


def rendered(layout: Layout, of: Instance) -> str:
    """Its domain as it is defined at a start."""
    return domain_xml.render(of, paths_of(layout, of), TCG)


def files_of(layout: Layout, generation: int, *layers: int) -> list[str]:
    """Overlay, layers, image."""
    overlays = layout.overlay_dir(BARE.name)
    image = layout.image(BARE.role.image_sha256, BARE.role.image_format)
    below = [layout.layer(BARE.name, layer) for layer in layers]
    return [str(path) for path in (overlays / f"{generation}.qcow2", *below, image)]


def test_what_is_restored_lies_on_the_layer_of_its_checkpoint(layout: Layout) -> None:
    """Of whichever generation that was; what is made of the image lies on the image."""
    assert chain(rendered(layout, BARE)) == files_of(layout, 3)
    assert chain(rendered(layout, SAVED)) == files_of(layout, 3, 3)
    assert chain(rendered(layout, next_generation(SAVED))) == files_of(layout, 4, 3)


def test_what_was_saved_lies_on_its_layer_before_any_record_says_so(layout: Layout) -> None:
    """The daemon died between the two, and somebody started the VM: without the layer its disk would be torn."""
    layer = layout.layer(BARE.name, BARE.generation)
    layer.parent.mkdir(parents=True)
    layer.touch()
    assert chain(rendered(layout, BARE)) == files_of(layout, 3, 3)
    assert chain(rendered(layout, instance(generation=4))) == files_of(layout, 4)


def test_a_saved_vm_goes_on_as_another_generation(layout: Layout) -> None:
    """Its overlay, what that lies on, and our metadata are of that; whatever libvirt compares is as it was saved."""
    saved = rendered(layout, BARE).replace("<source file=", '<source index="7" file=', 1)
    after = next_generation(SAVED)
    root = etree.fromstring(described(saved, after, paths_of(layout, after)).encode())
    assert chain(etree.tostring(root, encoding="unicode")) == files_of(layout, 4, 3)
    assert not root.xpath("devices/disk/source/@index"), "libvirt counts the nodes of a chain itself"
    ours = root.find(f"metadata/{{{domain_xml.NAMESPACE}}}instance")
    owned = domain_xml.ownership(etree.tostring(ours, encoding="unicode"))
    assert owned is not None
    assert (owned.name, owned.generation) == (BARE.name, 4)
    assert "generation 4;" in root.findtext("description")
    before = etree.fromstring(saved.encode())
    for tag in ("name", "uuid", "memory", "cpu", "os", "devices/interface", "devices/channel"):
        assert [etree.tostring(each) for each in root.findall(tag)] == [
            etree.tostring(each) for each in before.findall(tag)
        ]


def test_variables_of_firmware_lie_where_the_generation_has_them(layout: Layout) -> None:
    """Those of the generation that was saved went with its domain."""
    role = dataclasses.replace(BARE.role, hardware=Hardware(firmware=Firmware.UEFI))
    secured, after = (dataclasses.replace(one, role=role) for one in (BARE, next_generation(SAVED)))
    root = etree.fromstring(described(rendered(layout, secured), after, paths_of(layout, after)).encode())
    assert root.findtext("os/nvram") == str(layout.nvram(after)) != str(layout.nvram(secured))


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("<name>web-0.shop</name>", "<name>web-1.shop</name>"),
        ("vmrole:instance", "vmrole:other"),
        ("</devices>", '<disk type="file" device="disk"><source file="/x"/></disk></devices>'),
    ],
    ids=["another's", "nobody's", "two-disks"],
)
def test_what_is_not_its_vm_does_not_go_on(layout: Layout, what: str, instead: str) -> None:
    """It is told, and made of the image."""
    saved = rendered(layout, BARE)
    assert what in saved
    with pytest.raises(Permanent, match="is not its VM"):
        described(saved.replace(what, instead), SAVED, paths_of(layout, SAVED))


class Host:
    """What libvirt tells of one."""

    def __init__(
        self, cpu: str = "<cpu><model>Nehalem</model></cpu>", version: int = 7002000, guests: int = 1
    ) -> None:
        self.cpu, self.version, self.guests = cpu, version, guests

    def getCapabilities(self) -> str:  # noqa: N802 - libvirt's name
        """As XML."""
        return f"<capabilities><host>{self.cpu}</host>{'<guest/>' * self.guests}</capabilities>"

    def getVersion(self) -> int:  # noqa: N802 - likewise
        """Of QEMU."""
        return self.version


def test_what_saved_memory_depends_on_is_told_apart(tmp_path: Path) -> None:
    """Processor, QEMU's version and its program; not what else libvirt tells. A package of the same version that was
    built again is another QEMU.
    """
    emulator = tmp_path / "qemu"
    emulator.write_text("one build")
    fit = host_fit(Host(), str(emulator))
    assert fit.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert fit == host_fit(Host(guests=3), str(emulator))
    another = host_fit(Host(cpu="<cpu><model>EPYC</model></cpu>"), str(emulator))
    assert (another.cpu != fit.cpu, another.qemu) == (True, fit.qemu)
    newer = host_fit(Host(version=8000000), str(emulator))
    assert (newer.qemu != fit.qemu, newer.cpu) == (True, fit.cpu)
    assert host_fit(Host(cpu=""), str(emulator)).cpu != fit.cpu
    emulator.write_text("other build")
    assert host_fit(Host(), str(emulator)).qemu != fit.qemu
    emulator.unlink()
    with pytest.raises(Transient):
        host_fit(Host(), str(emulator))
