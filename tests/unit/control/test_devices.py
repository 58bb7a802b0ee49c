"""Roles that ask for other machines: what the host is asked before, and what if it has lost something since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control import deployment
from orchestrator.control.deployment import Capacity
from orchestrator.drivers.fake import fake_host
from orchestrator.errors import InvalidInput
from orchestrator.model import Devices, InstanceName, ServiceSpec, Verb
from orchestrator.model.share import Share
from tests.world.fabric import Fabric, web_role

HUGE = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(devices=Devices(hugepages=True)),))
ONE = InstanceName("web-0.shop")
OTHER = replace(HUGE, roles=(web_role(devices=Devices(cpu_model="486")),))


@pytest.fixture
def fabric() -> Fabric:
    """A host that has huge pages."""
    return Fabric()


def capacity(fabric: Fabric, huge_pages_mib: int | None = None, memory_mib: int = 64_000) -> Capacity:
    """Of the fake host."""
    hypervisor = fake_host(fabric.world).machine.hypervisor
    return Capacity(
        pool="10.90.0.0/16", memory_mib=memory_mib, unfit=hypervisor.unfit, huge_pages_mib=lambda: huge_pages_mib
    )


def test_what_the_host_has_not_is_refused(fabric: Fabric) -> None:
    """With the key of the file and what helps; what a service has already it keeps."""
    with pytest.raises(InvalidInput, match="cannot have a processor 486") as refused:
        deployment.check(OTHER, [], capacity(fabric))
    (problem,) = refused.value.problems
    assert (problem.key, problem.hint) == ("roles.web.devices.cpuModel", "use one of: Nehalem, qemu64")
    deployment.check(OTHER, [], capacity(fabric), before=OTHER)
    deployment.check(HUGE, [], capacity(fabric))
    fabric.world.faults.no_huge_pages = True
    with pytest.raises(InvalidInput, match="reserved no huge pages"):
        deployment.check(HUGE, [], capacity(fabric))


def test_extra_xml_that_no_vm_starts_with_is_refused(fabric: Fabric) -> None:
    """In libvirt's words, with the key of the file."""
    xml = "<domain><cpu><feature name='nonesuch' policy='disable' /></cpu></domain>"
    with pytest.raises(InvalidInput, match="nonesuch") as refused:
        deployment.check(replace(HUGE, roles=(web_role(libvirt_xml=xml),)), [], capacity(fabric))
    assert refused.value.problems[0].key == "roles.web.libvirt.xml"


def test_huge_pages_are_promised_once(fabric: Fabric) -> None:
    """Two instances of 128 MiB; who asks for none may have all that he likes."""
    deployment.check(HUGE, [], capacity(fabric, 256))
    with pytest.raises(InvalidInput, match="needs 256 MiB of huge pages; the host has 255 MiB, 0 are") as refused:
        deployment.check(HUGE, [], capacity(fabric, 255))
    assert refused.value.problems[0].key == "roles.web.devices.hugepages"
    deployment.check(replace(HUGE, roles=(web_role(),)), [], capacity(fabric, 0))


def test_memory_that_is_reserved_for_huge_pages_is_nobody_elses(fabric: Fabric) -> None:
    """Two instances of 192 MiB each, QEMU's part with it: what is reserved and not promised lacks to who asks for
    none; who asks for them has his part there.
    """
    plain = replace(HUGE, roles=(web_role(),))
    deployment.check(plain, [], capacity(fabric, 0, 384))
    deployment.check(plain, [], capacity(fabric, 256, 640))
    with pytest.raises(InvalidInput, match="needs 384 MiB of memory; the host gives 639 MiB, 256 MiB are promised"):
        deployment.check(plain, [], capacity(fabric, 256, 639))
    deployment.check(HUGE, [], capacity(fabric, 256, 384))


def test_who_cannot_start_waits_for_the_host(fabric: Fabric) -> None:
    """Whoever runs goes on; who starts waits, and says for what; none is blamed for it."""
    fabric.control.apply_spec(HUGE)
    fabric.until(fabric.quiet)
    fabric.world.faults.no_huge_pages = True
    assert all(one.serving for one in fabric.instances())
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(lambda: "reserved no huge pages" in fabric.control.by_name()[ONE].waiting)
    fabric.world.faults.no_huge_pages = False
    fabric.until(fabric.quiet)
    assert [one.serving for one in fabric.instances()] == [True, True]


def test_a_share_that_is_gone_is_waited_for(fabric: Fabric) -> None:
    """As for huge pages; nobody's disk is made anew for it."""
    share = Share(name="data", source="/srv/data", mount="/data")
    fabric.control.apply_spec(replace(HUGE, roles=(web_role(shares=(share,)),)))
    fabric.until(fabric.quiet)
    fabric.world.faults.shares_gone.add("/srv/data")
    with pytest.raises(InvalidInput, match="/srv/data cannot be looked at") as refused:
        deployment.check(replace(HUGE, roles=(web_role(shares=(share,)),)), [], capacity(fabric))
    assert refused.value.problems[0].key == "roles.web.shares.data.source"
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(lambda: "/srv/data cannot be looked at" in fabric.control.by_name()[ONE].waiting)
    fabric.world.faults.shares_gone.clear()
    fabric.until(fabric.quiet)
    assert [(one.serving, one.generation) for one in fabric.instances()] == [(True, 2), (True, 1)]
