"""Virtual addresses, held for all services together."""

from __future__ import annotations

from orchestrator.control import records, verify
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
