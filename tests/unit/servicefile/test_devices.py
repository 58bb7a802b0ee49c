"""`devices:` of a role: what the file says, what it must not say, and the way back."""

from __future__ import annotations

import pytest

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import Devices, DiskCache
from orchestrator.servicefile.difference import difference
from orchestrator.servicefile.write import written
from tests.world.service_files import find

SAID = (
    "{cpuModel: Nehalem, sockets: 2, cores: 2, threads: 2, diskCache: none, screen: true, hugepages: true, "
    "pci: [01:00.0, 10DE:2204, 10de:2204, 'class:0c03']}"
)
FILE = f"""service: shop
roles:
  web:
    image: micro
    size: {{vcpus: 8}}
    devices: {SAID}
"""


def said(devices: str) -> Devices:
    """What the file with those devices comes to."""
    return servicefile.parse(FILE.replace(SAID, devices), find).roles[0].devices


def test_they_are_read_and_written() -> None:
    """With everything that there is; the file that is written says the same."""
    spec = servicefile.parse(FILE, find)
    assert spec.roles[0].devices == Devices(
        cpu_model="Nehalem",
        sockets=2,
        cores=2,
        threads=2,
        disk_cache=DiskCache.NONE,
        screen=True,
        hugepages=True,
        pci=("0000:01:00.0", "10de:2204", "10de:2204", "class:0c03"),
    )
    assert servicefile.parse(written(spec, find), find) == spec


@pytest.mark.parametrize(
    ("devices", "topology"),
    [
        ("{}", None),
        ("{diskCache: writethrough}", None),
        ("{sockets: 2}", (2, 4, 1)),
        ("{threads: 2}", (1, 4, 2)),
        ("{cores: 8}", (1, 8, 1)),
        ("{sockets: 4, threads: 2}", (4, 1, 2)),
    ],
)
def test_cores_make_up_for_what_is_left_out(devices: str, topology: tuple[int, int, int] | None) -> None:
    """Who says nothing of it has what is usual for its system."""
    assert said(devices).topology(8) == topology


@pytest.mark.parametrize("other", ["{cpuModel: Westmere}", "{hugepages: false}", "{diskCache: directsync}"])
def test_other_devices_are_another_vm(other: str) -> None:
    """The difference says so."""
    changes = difference(servicefile.parse(FILE, find), servicefile.parse(FILE.replace(SAID, other), find))
    assert changes
    for change in changes:
        assert change.key.startswith("roles.web.devices.")
        assert "rolling reimage" in change.effect


@pytest.mark.parametrize(
    ("devices", "key", "told"),
    [
        ("none", "", "is not a mapping"),
        ("{disk: none}", ".disk", "there is no such key"),
        ("{cpuModel: 486}", ".cpuModel", "is not a string"),
        ('{cpuModel: ""}', ".cpuModel", "is no model of a processor"),
        ('{cpuModel: "Nehalem,+vmx"}', ".cpuModel", "is no model of a processor"),
        ('{cpuModel: "<cpu/>"}', ".cpuModel", "is no model of a processor"),
        ("{sockets: 0}", ".sockets", "is out of range"),
        ("{threads: 4}", ".threads", "is out of range"),
        ("{sockets: 3}", ".sockets", "3 x 2 x 1 (sockets, cores, threads) are not the 8 vCPUs"),
        ("{cores: 4}", ".cores", "1 x 4 x 1 (sockets, cores, threads) are not the 8 vCPUs"),
        ("{sockets: 2, cores: 2, threads: 1}", ".threads", "2 x 2 x 1"),
        ("{sockets: 64}", ".sockets", "64 x 1 x 1"),
        ("{diskCache: unsafe}", ".diskCache", "is not known"),
        ("{diskCache: true}", ".diskCache", "is not known"),
        ("{screen: vnc}", ".screen", "is not true or false"),
        ("{hugepages: 1 GiB}", ".hugepages", "is not true or false"),
        ("{pci: 10de:2204}", ".pci", "it is not a list"),
        ("{pci: [1234]}", ".pci", "1234 is not a string"),
        ("{pci: [gpu]}", ".pci", "'gpu' names no PCI device"),
        ("{pci: ['0000:01:00.8']}", ".pci", "'0000:01:00.8' names no PCI device"),
        ("{pci: ['0000:01:20.0']}", ".pci", "'0000:01:20.0' names no PCI device"),
        ('{pci: ["10de:2204\\n"]}', ".pci", "names no PCI device"),
        ("{pci: ['class:03']}", ".pci", "'class:03' names no PCI device"),
        ("{pci: [01:00.0, '0000:01:00.0']}", ".pci", "0000:01:00.0 is there twice"),
        ("{pci: [1:1.1]}", ".pci", "'1:1.1' names no PCI device"),
        (f"{{pci: [{', '.join(['10de:2204'] * 9)}]}}", ".pci", "9 devices; a role may have 8"),
    ],
)
def test_what_cannot_be(devices: str, key: str, told: str) -> None:
    """The line, the key and what helps are said."""
    with pytest.raises(InvalidInput) as caught:
        said(devices)
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == (f"roles.web.devices{key}", 6)
    assert told in problem.message
    assert problem.hint


EXTRA = "<domain><cpu><feature policy='disable' name='aes'/></cpu></domain>"


def with_xml(xml: str) -> str:
    """The file with that of libvirt's."""
    return FILE + f"    libvirt:\n      xml: |\n        {xml}\n"


def test_extra_xml_is_read_written_and_warned_of() -> None:
    """On one line; that nobody has tried it is said where it is new, and nothing where it goes."""
    without, spec = (servicefile.parse(one, find) for one in (FILE, with_xml(EXTRA)))
    assert spec.roles[0].libvirt_xml == '<domain><cpu><feature name="aes" policy="disable" /></cpu></domain>'
    assert servicefile.parse(written(spec, find), find) == spec
    (new,), (there,), (gone,) = difference(None, spec), difference(without, spec), difference(spec, without)
    assert there.key == "roles.web.libvirt.xml"
    assert "rolling reimage" in there.effect
    assert "yours to answer for" in new.effect
    assert "yours to answer for" in there.effect
    assert "yours" not in gone.effect


def test_other_xml_is_refused() -> None:
    """With the line of its key, the place in it, and what may be there."""
    with pytest.raises(InvalidInput) as caught:
        servicefile.parse(with_xml("<domain><devices><hostdev/></devices></domain>"), find)
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == ("roles.web.libvirt.xml", 8)
    assert problem.message == "domain/devices may not have <hostdev> in it"
    assert problem.hint == "what is allowed there: input, sound, watchdog (docs/devices.md)"
