"""A VM's XML without anything of ours."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from orchestrator.host.plain_domain import describe, plain
from tests.world.places import GOLDEN_FILES


def test_a_card_on_a_bridge_stays_on_it() -> None:
    """With its MAC and its MTU; only the card in the private network goes into the network of that name."""
    described = describe((GOLDEN_FILES / "domain" / "bridge.xml").read_text())
    made = etree.fromstring(plain(described, {"vda": Path("/a.qcow2")}, None, "taken").encode())
    private, beside = made.findall("devices/interface")
    assert (private.get("type"), [dict(one.attrib) for one in private]) == (
        "network",
        [{"address": "52:54:00:12:34:56"}, {"network": "taken"}, {"type": "virtio"}],
    )
    assert (beside.get("type"), [dict(one.attrib) for one in beside]) == (
        "bridge",
        [{"address": "52:54:00:e1:19:b5"}, {"bridge": "br0.7"}, {"type": "virtio"}, {"size": "9000"}],
    )


def test_no_directory_of_the_host_goes_with_it() -> None:
    """By the libvirt of another host its guest could write there."""
    described = describe((GOLDEN_FILES / "domain" / "shares.xml").read_text())
    assert described.root.findall("devices/filesystem")
    made = etree.fromstring(plain(described, {"vda": Path("/a.qcow2")}, None, "taken").encode())
    assert made.findall("devices/filesystem") == []


def test_no_device_of_the_host_goes_with_it() -> None:
    """Another host has another there, or its own disks."""
    described = describe((GOLDEN_FILES / "domain" / "pci.xml").read_text())
    assert len(described.root.findall("devices/hostdev")) == 3
    made = etree.fromstring(plain(described, {"vda": Path("/a"), "vdb": Path("/b")}, None, "taken").encode())
    assert made.findall("devices/hostdev") == []
