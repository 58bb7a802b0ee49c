"""Which devices of the host instances have: each one instance, and what goes with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model import Devices, Goal, Instance, Role, ServiceSpec, pci
from orchestrator.model.pci import Passed, PciDevice, PciLook
from orchestrator.rules import passthrough
from tests.world.fabric import web_role
from tests.world.instances import instance_of

A, B, C, SOUND = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:01:00.1"
GPU = "10de:2204"
LOOK = PciLook(
    given=(GPU, "class:0403", C),
    devices=(
        PciDevice(address=A, kind=GPU, code="0300", mates=(SOUND,)),
        PciDevice(address=SOUND, kind="10de:1aef", code="0403", mates=(A,)),
        PciDevice(address=B, kind=GPU, code="0300"),
        PciDevice(address=C, kind="8086:1533", code="0200"),
    ),
)


def role(*names: str, instances: int = 1, name: str = "web") -> Role:
    """One whose instances are to have those."""
    return web_role(name=name, instances=instances, devices=Devices(pci=names))


def spec(*roles: Role, name: str = "shop") -> ServiceSpec:
    """A service of them."""
    return ServiceSpec(name=name, vip="", roles=roles)


def fault(wants: ServiceSpec, *instances: Instance, look: PciLook = LOOK, **more: object) -> tuple[str, str]:
    """What is told of it, and the key; "" twice for nothing."""
    found = passthrough.fault(wants, more.get("before"), more.get("others", ()), instances, {}, look)  # type: ignore[arg-type]
    assert found is None or found.hint
    return (found.message, found.key) if found else ("", "")


def handed(of: Role, *, passed: tuple[Passed, ...] = (), index: int = 0) -> Instance:
    """An instance of the role as it is by now."""
    return instance_of(of, index, goal=Goal(role=of, passed=passed))


def addresses(one: Instance) -> list[str]:
    """What its VM has."""
    return [each.address for each in one.passed]


def test_each_instance_has_one_of_each_name() -> None:
    """A device comes with its mates, and answers a second name as well."""
    both = [handed(role(GPU, instances=2), index=index) for index in range(2)]
    first, second = passthrough.handed_out(both, {}, LOOK)
    assert (addresses(first), addresses(second)) == ([A, SOUND], [B])
    (whole,) = passthrough.handed_out([handed(role(GPU, "class:0403"))], {}, LOOK)
    assert addresses(whole) == [A, SOUND]
    (two,) = passthrough.handed_out([handed(role(GPU, GPU, C))], {}, LOOK)
    assert addresses(two) == [A, SOUND, B, C]


def test_what_it_has_it_keeps() -> None:
    """Whatever else is free, also when its owner gives it no more, or it cannot be passed on now."""
    kept = handed(role(GPU), passed=(Passed(wanted=GPU, address=B, kind=GPU),))
    for look in (LOOK, PciLook(), replace(LOOK, devices=tuple(replace(one, fault="x") for one in LOOK.devices))):
        assert passthrough.handed_out([kept], {}, look) == []
    more = replace(kept, goal=replace(kept.goal, role=role(GPU, C)))
    (after,) = passthrough.handed_out([more], {}, LOOK)
    assert (addresses(after), [one.address for one in after.passed_to]) == ([B], [B, C])


def test_it_has_it_until_no_vm_of_it_is_to_have_it() -> None:
    """A role that names it no more gives it back with the next generation."""
    had = handed(role(GPU), passed=(Passed(wanted=GPU, address=B, kind=GPU),))
    leaving = replace(had, goal=replace(had.goal, role=role()))
    assert passthrough.handed_out([leaving], {}, LOOK) == []
    assert passthrough.taken([leaving], {}) == {B: "web-0.shop"}
    anew = replace(leaving, role=role())
    (bare,) = passthrough.handed_out([anew], {}, LOOK)
    assert bare.goal.passed == ()
    assert passthrough.taken([anew], {}) == {}


def test_what_another_has_is_not_given() -> None:
    """Nor its group, where he has a part of it; nor what a record may hold that nobody can read."""
    one = handed(role(GPU))
    (given_b,) = passthrough.handed_out([one], {SOUND: "db-0.bank"}, LOOK)
    assert addresses(given_b) == [B]
    assert passthrough.taken([], {"db-0.bank": frozenset({"words", SOUND})}) == {SOUND: "db-0.bank"}
    assert passthrough.handed_out([one], {A: "x", B: "y"}, LOOK) == []
    assert passthrough.handed_out([replace(one, goal=replace(one.goal, serve=False))], {}, LOOK) == []


@pytest.mark.parametrize(
    ("wants", "told"),
    [
        (role(GPU, instances=2), ""),
        (role(GPU, instances=3), "web-2.shop cannot have 10de:2204: of 2 that this host's owner gives none is free"),
        (role(GPU, instances=3), "taken by web-0.shop, web-1.shop"),
        (role(C), ""),
        (role(C, instances=2), f"2 instances cannot have {C}: a device has one instance"),
        (role("0000:09:00.0"), "this host's owner does not give 0000:09:00.0 to guests"),
        (role("8086:1533"), ""),
        (role("1002:7310"), "this host's owner does not give 1002:7310 to guests"),
        (role(C, "8086:1533"), "web-0.shop cannot have 8086:1533: of 1 that this host's owner gives none is free"),
    ],
)
def test_what_cannot_be_is_told(wants: Role, told: str) -> None:
    """With the key of the file."""
    message, key = fault(spec(wants))
    assert told in message
    assert bool(message) is bool(told)
    assert key == ("roles.web.devices.pci" if told else "")


def test_what_is_given_and_not_there_is_told() -> None:
    """Of what is not given nothing is told, not even that."""
    look = PciLook(given=("0000:09:00.0",))
    assert fault(spec(role("0000:09:00.0")), look=look)[0] == "there is no PCI device 0000:09:00.0 on this host"
    assert "does not give" in fault(spec(role("0000:0a:00.0")), look=look)[0]
    assert "does not give" in fault(spec(role(GPU)), look=PciLook())[0]


def test_a_device_that_cannot_be_passed_on_is_told() -> None:
    """In its own words; one that can be is enough."""
    sick = replace(LOOK, devices=tuple(replace(one, fault="no IOMMU", hint="boot") for one in LOOK.devices))
    assert fault(spec(role(GPU)), look=sick) == ("no IOMMU", "roles.web.devices.pci")
    half = replace(LOOK, devices=(replace(LOOK.devices[0], fault="no IOMMU", hint="boot"), *LOOK.devices[1:]))
    assert fault(spec(role(GPU)), look=half) == ("", "")
    assert "1 cannot be passed on" in fault(spec(role(GPU, instances=2)), look=half)[0]


def test_two_services_have_no_device_in_common() -> None:
    """By their instances, and by what the file of the other names, whose instances are not there yet."""
    bank = spec(role(C, name="db"), name="bank")
    assert f"web-0.shop cannot have {C}: db-0.bank has it" in fault(spec(role(C)), others=(bank,))[0]
    holds = instance_of(
        role(C), service="bank", goal=Goal(role=role(C), passed=(Passed(wanted=C, address=C, kind=GPU),))
    )
    assert "web-0.bank has it" in fault(spec(role("8086:1533")), holds)[0]
    assert "db-0.shop has it" in fault(spec(role(C, name="db"), role(C)))[0]


def test_what_a_service_has_is_not_asked_again() -> None:
    """It goes on by its file when its owner gives less; one instance more is asked for, one less is not."""
    had = spec(role(GPU, instances=2))
    for after in (had, spec(role(GPU, instances=1)), spec(role())):
        assert fault(after, look=PciLook(), before=had) == ("", "")
    assert "does not give" in fault(spec(role(GPU, instances=3)), look=PciLook(), before=had)[0]
    assert "does not give" in fault(spec(role(GPU, "8086:1533", instances=2)), look=PciLook(), before=had)[0]


NAMES = st.lists(st.sampled_from((GPU, "class:0403", "8086:1533", A, B, C, SOUND)), max_size=3)
STEPS = st.lists(st.lists(st.tuples(st.booleans(), st.booleans(), NAMES), min_size=3, max_size=3), max_size=6)


@settings(deadline=None)
@given(steps=STEPS)
def test_no_device_ever_has_two_instances(steps: list[list[tuple[bool, bool, list[str]]]]) -> None:
    """However roles change, instances follow or lag behind, and come and go."""
    there = [handed(role(), index=index) for index in range(3)]
    for step in steps:
        for index, (stays, follows, names) in enumerate(step):
            wanted = role(*names)
            one = there[index]
            one = replace(one, goal=replace(one.goal, role=wanted, serve=stays))
            there[index] = replace(one, role=wanted) if follows else one
        for index in range(3):
            changed = passthrough.handed_out([there[index]], passthrough.taken(there, {}), LOOK)
            there[index] = changed[0] if changed else there[index]
            assert passthrough.clashes(there) == []
            held = [set(addresses(one)) for one in there]
            assert sum(map(len, held)) == len(set().union(*held))
            for one in there:
                groups = {A: SOUND, SOUND: A}
                assert all(groups.get(each, each) in addresses(one) for each in addresses(one))


def test_clashes_are_found() -> None:
    """Should a record say so all the same."""
    both = [handed(role(C), passed=(Passed(wanted=C, address=C, kind=GPU),), index=index) for index in range(2)]
    assert passthrough.clashes(both) == [(C, "web-0.shop", "web-1.shop")]
    assert passthrough.clashes(both[:1]) == []


def test_names() -> None:
    """Short and long, small and large letters are one name."""
    assert [pci.named(name) for name in ("01:00.0", "0000:01:00.0", "10DE:2204", "class:0C03")] == [
        A, A, GPU, "class:0c03",
    ]  # fmt: skip
    assert pci.keys((GPU, C, GPU)) == (GPU, C, f"{GPU}#2")
    assert [pci.name_of(key) for key in pci.keys((GPU, GPU))] == [GPU, GPU]
