"""Instances with devices of the host's: given once, kept over everything, and waited for where one is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.control import records, verify
from orchestrator.errors import InvalidInput
from orchestrator.model import Devices, Instance, InstanceName, Service, ServiceSpec, Slot, Verb
from orchestrator.model.pci import Passed, PciDevice, PciLook
from orchestrator.ports import Write
from tests.world.fabric import Fabric, web_role

A, B, C, GPU = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "10de:2204"
LOOK = PciLook(given=(GPU,), devices=tuple(PciDevice(address=each, kind=GPU, code="0300") for each in (A, B, C)))
SPEC = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(devices=Devices(pci=(GPU,))),))
ONE, TWO = InstanceName("web-0.shop"), InstanceName("web-1.shop")


def with_pci(spec: ServiceSpec, *names: str, **changes: object) -> ServiceSpec:
    """The service whose role names those."""
    return replace(spec, roles=(replace(spec.roles[0], devices=Devices(pci=names), **changes),))  # type: ignore[arg-type]


@pytest.fixture
def fabric() -> Fabric:
    """Two that serve, on a host with three GPUs."""
    fabric = Fabric()
    fabric.world.faults.pci = LOOK
    fabric.control.apply_spec(SPEC)
    fabric.until(fabric.quiet)
    return fabric


def has(fabric: Fabric) -> dict[str, list[str]]:
    """Which devices each VM has that runs."""
    return {name: [one.address for one in machine.instance.passed] for name, machine in fabric.world.machines.items()}


def test_each_has_its_own_and_keeps_it(fabric: Fabric) -> None:
    """Over restarts, reimages, a daemon that starts again, and whatever its owner gives then."""
    assert has(fabric) == {ONE: [A], TWO: [B]}
    fabric.world.faults.pci = replace(LOOK, devices=tuple(reversed(LOOK.devices[1:])))
    for verb in (Verb.RESTART, Verb.REIMAGE, Verb.STOP, Verb.START, Verb.REBUILD):
        fabric.act(verb, ONE)
        fabric.until(fabric.quiet)
        fabric.restart()
    assert has(fabric) == {ONE: [A], TWO: [B]}
    assert all(one.serving for one in fabric.instances())


def test_no_two_services_have_one(fabric: Fabric) -> None:
    """Nor two slots; nothing of what is refused is recorded. It is free when its instance is gone."""
    blog = replace(SPEC, name="blog", vip="203.0.113.11")
    for spec, slot in ((blog, Slot.PRODUCTION), (SPEC, Slot.STAGING)):
        with pytest.raises(InvalidInput, match="of 3 that this host's owner gives none is free") as refused:
            fabric.control.apply_spec(spec, slot=slot)
        assert refused.value.problems[0].key == "roles.web.devices.pci"
    assert [one.name for one in fabric.present.all(Service)] == ["shop"]
    fabric.control.apply_spec(with_pci(SPEC, GPU, instances=1))
    with pytest.raises(InvalidInput, match=r"web-1\.blog cannot .* taken by web-0\.blog, web-0\.shop, web-1\.shop"):
        fabric.control.apply_spec(blog)
    fabric.until(lambda: len(fabric.instances()) == 1)
    fabric.control.apply_spec(blog)
    fabric.until(fabric.quiet)
    assert has(fabric) == {ONE: [A], "web-0.blog": [B], "web-1.blog": [C]}


def test_a_role_that_names_none_gives_back_what_it_had(fabric: Fabric) -> None:
    """When the VM that has it is gone, and not before."""
    bare, blog = with_pci(SPEC), with_pci(replace(SPEC, name="blog", vip="203.0.113.11"), GPU, instances=3)
    fabric.control.apply_spec(bare)
    with pytest.raises(InvalidInput, match=r"taken by web-0\.blog, web-0\.shop, web-1\.shop"):
        fabric.control.apply_spec(blog)
    fabric.until(fabric.quiet)
    fabric.control.apply_spec(blog)
    fabric.until(fabric.quiet)
    assert has(fabric) == {ONE: [], TWO: [], "web-0.blog": [A], "web-1.blog": [B], "web-2.blog": [C]}


def test_another_device_is_another_vm(fabric: Fabric) -> None:
    """Rolled out, one after the other; each keeps its first meanwhile."""
    fabric.control.apply_spec(with_pci(SPEC, GPU, C, instances=1))
    fabric.until(fabric.quiet)
    assert has(fabric) == {ONE: [A, C]}
    assert fabric.control.by_name()[ONE].generation == 2


def test_what_is_gone_is_waited_for(fabric: Fabric) -> None:
    """Whoever runs goes on; who starts waits for it, says so, and has no other in its place."""
    for strike, mend, told in (
        (lambda: fabric.world.faults.pci_gone.add(A), fabric.world.faults.pci_gone.clear, f"no PCI device {A}"),
        (lambda: iommu(fabric, on=False), lambda: iommu(fabric, on=True), "doesn't support passthrough"),
    ):
        strike()
        fabric.act(Verb.REIMAGE, ONE)
        fabric.until(waits(fabric, told))
        assert fabric.control.by_name()[TWO].serving
        mend()
        fabric.until(fabric.quiet)
    assert has(fabric) == {ONE: [A], TWO: [B]}
    assert [(one.serving, one.strikes) for one in fabric.instances()] == [(True, 0), (True, 0)]


def waits(fabric: Fabric, told: str) -> Callable[[], bool]:
    """Whether the first of them waits for that."""
    return lambda: told in fabric.control.by_name()[ONE].waiting


def iommu(fabric: Fabric, *, on: bool) -> None:
    """Switches it."""
    fabric.world.faults.no_passthrough = not on


def test_what_an_apply_had_no_time_for_is_given_in_the_turn_of_the_service() -> None:
    """Nobody starts before; nothing is given twice."""
    fabric = Fabric()
    fabric.world.faults.pci = LOOK
    fabric.control.apply_spec(SPEC)
    for one in fabric.instances():
        fabric.present.commit([records.put_wish(replace(one, goal=replace(one.goal, passed=())))])
    fabric.world.faults.pci = replace(LOOK, devices=LOOK.devices[:1])
    fabric.until(lambda: has(fabric) == {ONE: [A]})
    fabric.until(lambda: "no device of the host is free for 10de:2204" in fabric.control.by_name()[TWO].waiting)
    fabric.world.faults.pci = LOOK
    fabric.until(fabric.quiet)
    assert has(fabric) == {ONE: [A], TWO: [B]}


def test_a_device_of_who_cannot_be_read_is_his(fabric: Fabric) -> None:
    """His VM runs on with it."""
    document = fabric.store.get(records.WISH, ONE)
    assert document is not None
    odd = {**document.body, "uid": "nobody"}
    fabric.store.commit([Write(records.WISH, ONE, odd, document.revision)])
    fabric.restart()
    assert {one.key for one in fabric.present.set_aside()} == {ONE}
    blog = with_pci(replace(SPEC, name="blog", vip="203.0.113.11"), GPU, instances=2)
    with pytest.raises(InvalidInput, match=r"taken by web-0\.blog, web-0\.shop, web-1\.shop"):
        fabric.control.apply_spec(blog)
    fabric.control.apply_spec(with_pci(blog, GPU, instances=1))
    fabric.until(lambda: has(fabric).get("web-0.blog") == [C])


def test_two_with_one_device_are_told(fabric: Fabric) -> None:
    """By verify, should a record say so all the same."""

    def codes() -> list[str]:
        found = verify.findings(fabric.host, fabric.present.all(Service), fabric.present.all(Instance))
        return [f"{one.code} {one.subject}" for one in found if one.code.startswith("PCI")]

    assert codes() == []
    two = fabric.control.by_name()[TWO]
    goal = replace(two.goal, passed=(Passed(wanted=GPU, address=A, kind=GPU),))
    fabric.present.commit([records.put_wish(replace(two, goal=goal))])
    assert codes() == [f"PCI-TWICE {A}"]
