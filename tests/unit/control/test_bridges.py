"""Instances with a card on a bridge of the host's: what is asked of the host, and what if one is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.api.card_views import cards_of
from orchestrator.control import records, verify
from orchestrator.drivers.hypervisor.start_faults import require_bridge
from orchestrator.drivers.tools import host_bridges
from orchestrator.errors import InvalidInput, Transient
from orchestrator.model import Given, Instance, InstanceName, RoleNetwork, Service, ServiceSpec, Slot, Verb
from orchestrator.ports import Write
from tests.world.fabric import Fabric, web_role
from tests.world.instances import instance_of

NETWORK = RoleNetwork(bridge="br0.7", addresses=("192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24"))
SPEC = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(network=NETWORK),))
ONE = InstanceName("web-0.shop")


@pytest.fixture
def fabric() -> Fabric:
    """Two that serve."""
    fabric = Fabric()
    fabric.control.apply_spec(SPEC)
    fabric.until(fabric.quiet)
    return fabric


def test_no_two_deployments_have_one_address(fabric: Fabric) -> None:
    """Nor two services; nothing of what is refused is recorded."""
    blog = replace(SPEC, name="blog", vip="203.0.113.11")
    for spec, slot in ((blog, Slot.PRODUCTION), (SPEC, Slot.STAGING)):
        with pytest.raises(InvalidInput, match=r"cannot have 192\.0\.2\.10: web-0\.shop has it") as refused:
            fabric.control.apply_spec(spec, slot=slot)
        assert refused.value.problems[0].key == "roles.web.network.addresses"
    assert [one.name for one in fabric.present.all(Service)] == ["shop"]


def test_no_vip_is_an_address_that_an_instance_has(fabric: Fabric) -> None:
    """Also where the service with the VIP is on no bridge itself: both would answer for it."""
    blog = ServiceSpec(name="blog", vip="192.0.2.10", roles=(web_role(),))
    with pytest.raises(InvalidInput, match=r"192\.0\.2\.10 cannot be a VIP: web-0\.shop has it"):
        fabric.control.apply_spec(blog)


def test_an_address_of_who_cannot_be_read_is_his(fabric: Fabric) -> None:
    """As its VIP is, and its memory: its VMs run on."""
    for kind, key in ((records.SERVICE, "shop"), (records.STATE, ONE)):
        document = fabric.store.get(kind, key)
        assert document is not None
        odd = {name: {"levitating": True} for name in document.body}
        fabric.store.commit([Write(kind, key, odd, document.revision)])
    fabric.restart()
    assert {one.key for one in fabric.present.set_aside()} == {"shop", ONE}
    third = replace(NETWORK, addresses=("192.0.2.12/24",))
    for network in (NETWORK, replace(third, addresses=("192.0.2.11/24",))):
        blog = ServiceSpec(name="blog", vip="", roles=(web_role(network=network, instances=1, endpoints=()),))
        with pytest.raises(InvalidInput, match=r"cannot have 192\.0\.2\.1[01]: web-[01]\.shop has it"):
            fabric.control.apply_spec(blog)
    fabric.control.apply_spec(replace(blog, roles=(replace(blog.roles[0], network=third),)))


def test_an_address_is_free_when_its_instance_is_gone(fabric: Fabric) -> None:
    """And not before: its VM is on the wire until then."""
    fewer = replace(SPEC, roles=(replace(SPEC.roles[0], instances=1),))
    other = replace(NETWORK, addresses=("192.0.2.11/24",))
    blog = ServiceSpec(name="blog", vip="", roles=(web_role(network=other, instances=1, endpoints=()),))
    fabric.control.apply_spec(fewer)
    with pytest.raises(InvalidInput, match=r"web-1\.shop has it"):
        fabric.control.apply_spec(blog)
    fabric.until(lambda: len(fabric.instances()) == 1)
    fabric.control.apply_spec(blog)


def test_a_bridge_that_is_gone_is_found_and_waited_for(fabric: Fabric) -> None:
    """Who runs goes on; who starts waits, and says for what; none is blamed for it."""
    fabric.world.faults.bridges_gone.add("br0.7")
    gone = "there is no bridge br0.7 on this host"
    found = verify.findings(fabric.host, fabric.present.all(Service), fabric.present.all(Instance))
    assert {(one.code, one.subject, one.message) for one in found} == {
        ("PORT-MISSING", name, gone) for name in ("web-0.shop", "web-1.shop")
    }
    assert all(one.serving for one in fabric.instances())
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(lambda: gone in fabric.control.by_name()[ONE].waiting)
    fabric.world.faults.bridges_gone.clear()
    fabric.until(fabric.quiet)
    assert [one.serving for one in fabric.instances()] == [True, True]


def test_the_host_says_what_is_no_bridge() -> None:
    """Each time with what could be done; the loopback is an interface that there always is."""
    on = instance_of(web_role(network=replace(NETWORK, bridge="nobridge0")))
    why, hint = host_bridges.fault("nobridge0")
    assert (why, hint.startswith("make it, or name one of: ")) == ("there is no bridge nobridge0 on this host", True)
    why, hint = host_bridges.fault("lo")
    assert why.startswith("lo is an interface of this host, and no bridge")
    assert hint
    with pytest.raises(Transient, match=r"start web-0\.shop: there is no bridge nobridge0 on this host"):
        require_bridge(on)
    require_bridge(instance_of(web_role()))


BY_DHCP = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(network=RoleNetwork(bridge="br0.7")),))


@pytest.fixture
def asking() -> Fabric:
    """Two that serve, whose addresses on the bridge a DHCP server gives."""
    fabric = Fabric()
    fabric.control.apply_spec(BY_DHCP)
    fabric.until(fabric.quiet)
    return fabric


def give(fabric: Fabric, name: str, given: str) -> None:
    """A DHCP server gives it that, some time later."""
    lan = fabric.control.by_name()[InstanceName(name)].lan
    assert lan is not None
    later(fabric)
    now_s = fabric.host.machine.clock.now_s()
    fabric.world.given[lan.tap, given] = Given(tap=lan.tap, address=given, at_s=now_s)


def later(fabric: Fabric) -> None:
    """After some turns of everybody."""
    for _ in range(4):
        fabric.round(5.0)


def address(fabric: Fabric, name: str) -> str:
    """What it has on the bridge."""
    return fabric.control.by_name()[InstanceName(name)].lan_given


def lines(fabric: Fabric, name: str) -> list[str]:
    """What the ledger says of it and the bridge."""
    return [one.message for one in fabric.store.events(subject=name) if "br0.7" in one.message]


def test_an_address_by_dhcp_is_followed(asking: Fabric) -> None:
    """None is needed to serve; what is given is recorded, told once, and shown; another takes its place."""
    assert [one.serving for one in asking.instances()] == [True, True]
    for given in ("192.0.2.50", "192.0.2.50", "192.0.2.51"):
        give(asking, "web-0.shop", given)
        asking.until(lambda given=given: address(asking, "web-0.shop") == given)  # type: ignore[misc]
    later(asking)
    assert address(asking, "web-1.shop") == ""
    assert lines(asking, "web-0.shop") == [f"it is 192.0.2.5{at} on bridge br0.7, by DHCP" for at in (0, 1)]
    asking.restart()
    assert address(asking, "web-0.shop") == "192.0.2.51"
    assert [one.address for one in cards_of(asking.control.by_name()[ONE])] == ["192.0.2.51"]


def test_what_it_may_not_have_is_refused_and_told(asking: Fabric) -> None:
    """What it had goes as well: the guest has let it go. The next that the server gives is as good as the first."""
    asking.world.own.add("192.0.2.1")
    give(asking, "web-0.shop", "192.0.2.50")
    asking.until(lambda: address(asking, "web-0.shop") == "192.0.2.50")
    give(asking, "web-0.shop", "192.0.2.1")
    asking.until(lambda: address(asking, "web-0.shop") == "")
    told = "a DHCP server of br0.7 has given it 192.0.2.1, which it may not use: it is this host's own address"
    assert lines(asking, "web-0.shop")[-1] == told
    assert [one.refused for one in cards_of(asking.control.by_name()[ONE])] == [told]
    give(asking, "web-0.shop", "192.0.2.1")
    later(asking)
    assert lines(asking, "web-0.shop").count(told) == 1
    give(asking, "web-0.shop", "192.0.2.52")
    asking.until(lambda: address(asking, "web-0.shop") == "192.0.2.52")
    assert [one.refused for one in cards_of(asking.control.by_name()[ONE])] == [""]


def test_of_two_that_were_given_one_address_the_later_has_it(asking: Fabric) -> None:
    """And the other none, until it is given one."""
    give(asking, "web-0.shop", "192.0.2.50")
    asking.until(lambda: address(asking, "web-0.shop") == "192.0.2.50")
    give(asking, "web-1.shop", "192.0.2.50")
    asking.until(lambda: address(asking, "web-1.shop") == "192.0.2.50")
    asking.until(lambda: address(asking, "web-0.shop") == "")
    later(asking)
    assert (address(asking, "web-0.shop"), address(asking, "web-1.shop")) == ("", "192.0.2.50")
    assert lines(asking, "web-0.shop")[-1].startswith("a DHCP server of br0.7 has given 192.0.2.50 to another")


def test_another_vm_has_no_address_before_it_is_given_one(asking: Fabric) -> None:
    """What the former was given counts for nothing: its server may have given it away since."""
    give(asking, "web-0.shop", "192.0.2.50")
    asking.until(lambda: address(asking, "web-0.shop") == "192.0.2.50")
    asking.act(Verb.REIMAGE, ONE)
    asking.until(lambda: asking.control.by_name()[ONE].generation == 2 and asking.quiet())
    assert address(asking, "web-0.shop") == ""
    give(asking, "web-0.shop", "192.0.2.50")
    asking.until(lambda: address(asking, "web-0.shop") == "192.0.2.50")
    asking.act(Verb.STOP, ONE)
    asking.until(lambda: asking.control.by_name()[ONE].is_off)
    assert address(asking, "web-0.shop") == ""
