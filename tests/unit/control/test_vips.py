"""Virtual addresses, held for all services together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control import records, verify
from orchestrator.errors import Conflict, InvalidInput
from orchestrator.model import Instance, Phase, Service, ServiceSpec
from orchestrator.ports import Document, Write
from tests.unit.control.fleet import deployed
from tests.world.fabric import Fabric, web_role

MINE, THEIRS = "203.0.113.10", "203.0.113.11"


def two_services() -> Fabric:
    """A shop and a blog that serve, each at its own address."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1), vip=MINE)
    fabric.deploy(web_role(instances=1), name="blog", vip=THEIRS)
    fabric.until(fabric.quiet)
    assert fabric.world.vips == {MINE, THEIRS}
    return fabric


def rewrite(fabric: Fabric, *changes: tuple[str, str]) -> None:
    """Gives services other addresses, in a single commit."""
    writes = []
    for name, vip in changes:
        service = fabric.present.load(Service, name)
        spec = ServiceSpec(name=name, vip=vip, roles=service.spec.roles)
        writes.append(records.put(Service(spec=spec, network=service.network, revision=service.revision)))
    fabric.present.commit(writes)


def test_addresses_that_change_their_service_stay_where_they_are() -> None:
    """Two services exchange their addresses: neither is off the interface for a moment."""
    fabric = two_services()
    rewrite(fabric, ("shop", THEIRS), ("blog", MINE))
    for _ in range(12):
        fabric.round()
    assert fabric.world.vips == {MINE, THEIRS}
    assert fabric.world.vips_taken_off == []
    assert {one.vip for one in fabric.world.frontends if one.pool.startswith("shop.")} == {THEIRS}


def test_another_address_comes_before_the_former_one_goes() -> None:
    """A service that gets another address has only that one in the end."""
    fabric = two_services()
    fabric.deploy(web_role(instances=1), vip="203.0.113.12")
    fabric.until(lambda: fabric.world.vips == {"203.0.113.12", THEIRS})
    assert fabric.world.vips_taken_off == [MINE]


def test_an_address_that_a_neighbour_has_holds_up_nobody_else() -> None:
    """The one service says why it waits, the other serves, and the first does when the neighbour has gone."""
    fabric = Fabric()
    fabric.world.faults.others_vips.add(MINE)
    fabric.deploy(web_role(instances=1), vip=MINE)
    fabric.deploy(web_role(instances=1), name="blog", vip=THEIRS)
    fabric.until(lambda: fabric.instance("web-0.blog").phase is Phase.SERVING)
    assert "203.0.113.10 is in use by" in fabric.instance("web-0.shop").waiting
    fabric.world.faults.others_vips.clear()
    fabric.until(fabric.quiet)
    assert fabric.world.vips == {MINE, THEIRS}


def test_an_address_that_somebody_removed_is_told_of_its_own_service() -> None:
    """Whichever service's turn puts it back."""
    fabric = two_services()
    fabric.world.vips.discard(THEIRS)
    fabric.daemon.attend(("service", "shop"))
    assert fabric.world.vips == {MINE, THEIRS}
    told = [(one.subject, one.message) for one in fabric.store.events(after=0) if "somebody" in one.message]
    assert told == [("blog", "somebody removed 203.0.113.11 from the host: put back")]


def test_what_nobody_can_read_keeps_its_address() -> None:
    """A record that this version cannot read says no more which address is its own: none is given up meanwhile."""
    fabric = two_services()
    fabric.store.commit([Write("service", "blog", {"nonsense": 1}, _revision(fabric, "blog"))])
    fabric.restart()
    for _ in range(12):
        fabric.round()
    assert fabric.world.vips == {MINE, THEIRS}
    assert fabric.world.vips_taken_off == []


def sharing(fabric: Fabric, name: str, port: int, **more: bool) -> None:
    """Applies a service with one endpoint at the address that all of these share."""
    role = web_role(instances=1)
    [end] = role.endpoints
    role = replace(role, endpoints=(replace(end, port=port),))
    fabric.control.apply_spec(ServiceSpec(name=name, vip=MINE, roles=(role,), **{"shared_vip": True, **more}))


def test_services_share_an_address_while_any_needs_it() -> None:
    """Never taken off before the last has gone; each has its endpoints at it, and goes without the other's."""
    fabric = Fabric()
    sharing(fabric, "shop", 80)
    sharing(fabric, "blog", 81)
    fabric.until(fabric.quiet)
    assert {(one.pool.split(".")[0], one.vip, one.port) for one in fabric.world.frontends} == {
        ("shop", MINE, 80),
        ("blog", MINE, 81),
    }
    assert fabric.present.vips() == {MINE: ("blog", "shop")}
    fabric.remove()
    fabric.until(lambda: fabric.present.find(Service, "shop") is None)
    assert (fabric.world.vips, fabric.world.vips_taken_off) == ({MINE}, [])
    assert [one.port for one in fabric.world.frontends] == [81]
    fabric.control.remove("blog")
    fabric.until(lambda: fabric.present.find(Service, "blog") is None)
    assert (fabric.world.vips, fabric.world.vips_taken_off) == (set(), [MINE])


def test_what_becomes_of_a_shared_address_is_told_of_all_who_need_it() -> None:
    """In the ledger, by `verify`, and whoever holds it wakes them."""
    fabric = Fabric()
    sharing(fabric, "shop", 80)
    sharing(fabric, "blog", 81)
    fabric.until(fabric.quiet)
    fabric.world.vips.clear()
    found = verify.findings(fabric.host, fabric.present.all(Service), fabric.present.all(Instance))
    assert [(one.code, one.subject) for one in found] == [("VIP-MISSING", "blog"), ("VIP-MISSING", "shop")]
    fabric.daemon.attend(("service", "shop"))
    told = {one.subject for one in fabric.store.events(after=0) if "somebody removed" in one.message}
    assert told == {"blog", "shop"}


def test_a_shared_address_has_each_port_once_and_only_for_those_who_share() -> None:
    """The key of the port is named, or that of the address with who has to say more; nothing is changed."""
    fabric = Fabric()
    sharing(fabric, "shop", 80)
    with pytest.raises(InvalidInput, match="is taken by service shop") as refused:
        sharing(fabric, "blog", 80)
    assert [one.key for one in refused.value.problems] == ["roles.web.endpoints.http.port"]
    with pytest.raises(Conflict, match="already the VIP of service shop") as conflict:
        sharing(fabric, "blog", 81, shared_vip=False)
    assert "in the file of blog" in conflict.value.hint
    sharing(fabric, "blog", 81)
    with pytest.raises(Conflict, match="already the VIP of service blog"):
        sharing(fabric, "shop", 80, shared_vip=False)
    with pytest.raises(InvalidInput, match="port 81"):
        sharing(fabric, "shop", 81)
    sharing(fabric, "shop", 82)


def _revision(fabric: Fabric, name: str) -> int:
    document: Document | None = fabric.store.get("service", name)
    assert document is not None
    return document.revision


def test_an_address_of_no_service_is_removed() -> None:
    """`repair` takes it off, and leaves the others."""
    fabric = deployed()
    fabric.world.vips.add("203.0.113.99")
    strays = verify.findings(fabric.host, fabric.present.all(Service), fabric.present.all(Instance))
    assert [(one.code, one.subject, one.stray) for one in strays] == [("VIP-STRAY", "203.0.113.99", True)]
    assert verify.repair(fabric.host, strays, lambda _: False) == strays
    assert fabric.world.vips == {MINE}
