"""Extra libvirt XML of a role, merged into its domain by rule. Pure.

What `model.libvirt_xml` lets through is looked at again: a record is no word of ours. A feature, a timer or a feature
of the processor takes the place of ours of that name; devices come behind ours.
"""

from __future__ import annotations

from lxml import etree

from orchestrator.drivers.hypervisor.domain_parts import add
from orchestrator.drivers.tools import untrusted_xml
from orchestrator.model import libvirt_xml


def merge(root: etree._Element, extra: str) -> None:
    """Puts it into the domain; "" is nothing. Raises InvalidInput where it holds what is not allowed."""
    if not extra:
        return
    for part in untrusted_xml.parsed(libvirt_xml.canonical(extra)):
        if part.tag == "sysinfo":
            board = root.find("os")
            assert board is not None, "a domain has a board"
            add(board, "smbios", {"mode": "sysinfo"})
            root.append(part)
            continue
        ours = root.find(part.tag)
        assert ours is not None, f"a domain has {part.tag}"
        for each in list(part):
            if part.tag != "devices":
                _remove(ours, each)
            ours.append(each)


def _remove(ours: etree._Element, each: etree._Element) -> None:
    for former in ours.findall(each.tag):
        if former.get("name") == each.get("name"):
            ours.remove(former)
