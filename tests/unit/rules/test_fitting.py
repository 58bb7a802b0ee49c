"""Which machines the host is asked for, and what of a service it is not asked again."""

from __future__ import annotations

import dataclasses

from orchestrator.errors import Problem
from orchestrator.model import Devices, Role, ServiceSpec, Size
from orchestrator.model.share import Share
from orchestrator.rules import fitting, quotas, roads
from tests.world.fabric import web_role

WANTED = Devices(cpu_model="Nehalem")


def spec(devices: Devices = WANTED, **more: object) -> ServiceSpec:
    """A service with one role that wants them."""
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(devices=devices, **more),))


def lacks(role: Role) -> Problem | None:
    """A host that has nothing."""
    return Problem(f"no {role.devices.cpu_model}", key="devices.cpuModel", hint="another")


def test_what_the_host_has_not_is_told_with_its_key() -> None:
    """As it stands in the file."""
    assert fitting.fault(spec(), None, lacks) == Problem(
        "no Nehalem", key="roles.web.devices.cpuModel", hint="another"
    )
    assert fitting.fault(spec(), None, fitting.no_fault) is None


def test_who_wants_nothing_and_who_has_it_is_not_asked() -> None:
    """A service goes on by its file on a host that has lost something; another size asks again."""
    assert fitting.fault(spec(Devices()), None, lacks) is None
    assert fitting.fault(spec(instances=7), spec(), lacks) is None
    assert fitting.fault(spec(), spec(Devices()), lacks) is not None
    assert fitting.fault(spec(size=Size(memory_mib=129)), spec(), lacks) is not None


def test_extra_xml_is_asked_for_when_it_changes() -> None:
    """Also of who has no other device."""
    had, wants = (spec(Devices(), libvirt_xml=f"<domain><cpu>{each}</cpu></domain>") for each in "ab")
    assert fitting.fault(had, had, lacks) is None
    assert fitting.fault(wants, had, lacks) is not None


def test_shares_are_asked_for_when_they_change() -> None:
    """Also of who has no other device."""
    had, wants = (spec(Devices(), shares=(Share(name="data", source=f"/srv/{each}"),)) for each in "ab")
    assert fitting.fault(had, had, lacks) is None
    assert fitting.fault(wants, had, lacks) is not None


def test_huge_pages_are_counted_for_who_asks_for_them() -> None:
    """All of his memory, and nobody else's."""
    asks = spec(Devices(hugepages=True), instances=3, size=Size(memory_mib=256))
    assert quotas.promised(quotas.HUGE_PAGES, asks) == 768
    assert quotas.promised(quotas.HUGE_PAGES, spec()) == 0


def test_a_memory_of_huge_pages_is_not_restored() -> None:
    """Its disk is booted."""
    role = dataclasses.replace(web_role(local_storage=()), devices=Devices(hugepages=True))
    assert (roads.unfit(role), roads.unfit_memory(role)) == ("", "its memory is of huge pages")
    assert roads.unfit_memory(dataclasses.replace(role, devices=WANTED)) == ""
    share = Share(name="data", source="/srv/data")
    assert roads.unfit(dataclasses.replace(role, shares=(share,))) == ""
    assert "serves its shares" in roads.unfit_memory(dataclasses.replace(role, devices=WANTED, shares=(share,)))
    assert "a screen" in roads.unfit_memory(dataclasses.replace(role, devices=Devices(screen=True)))
    assert "not ours alone" in roads.unfit_memory(
        dataclasses.replace(role, devices=Devices(), libvirt_xml="<domain/>")
    )


def test_no_memory_is_restored_with_a_device_of_the_host() -> None:
    """Its disk can be booted: prepared is the warmest road."""
    role = dataclasses.replace(web_role(local_storage=()), devices=Devices(pci=("10de:2204",)))
    assert roads.unfit(role) == ""
    assert "devices.pci" in roads.unfit_memory(role)
