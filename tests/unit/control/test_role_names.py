"""The names of roles follow who is ready: through a life, a refusal of the host, and the daemon's death."""

from __future__ import annotations

from orchestrator.errors import Transient
from orchestrator.model import Service, ServiceSpec, Slot, Verb
from tests.unit.control.fleet import WEB, serving
from tests.world.fabric import Fabric, web_role


def called(fabric: Fabric, service: str = "shop") -> frozenset[str]:
    """Whom the name of its role leads to."""
    return fabric.world.called.get(service, {}).get("web", frozenset())


def ready(fabric: Fabric, service: str = "shop") -> frozenset[str]:
    """Whom it ought to lead to."""
    return frozenset(one.nic.address for one in fabric.instances() if one.serving and one.service == service)


def test_a_name_is_of_those_who_serve_at_every_turn() -> None:
    """While they are deployed, reimaged one by one, and deleted; nobody is in it when his VM is stopped."""
    fabric = serving(2)
    assert len(called(fabric)) == 2
    fabric.act(Verb.REIMAGE, WEB)
    sizes = set()
    for _ in range(300):
        fabric.round()
        assert called(fabric) == ready(fabric)
        sizes.add(len(called(fabric)))
        if fabric.quiet():
            break
    assert sizes == {1, 2}
    fabric.control.remove("shop")
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()


def test_two_deployments_have_names_of_their_own() -> None:
    """Before a swap and after it: a guest's word for its neighbours means those of its own deployment."""
    fabric = Fabric()
    spec = ServiceSpec(name="shop", vip="", roles=(web_role(endpoints=()),))
    fabric.control.apply_spec(spec)
    fabric.control.apply_spec(spec, slot=Slot.STAGING)
    fabric.until(fabric.quiet)
    before = {one: called(fabric, one) for one in ("shop", "shop--b")}
    assert before == {one: ready(fabric, one) for one in before}
    assert all(len(those) == 2 for those in before.values())
    fabric.control.swap("shop")
    fabric.until(fabric.quiet)
    assert {one: called(fabric, one) for one in before} == before


def test_a_host_that_cannot_write_it_holds_nobody_up() -> None:
    """The instance goes on, and its name is put right by the service's next turn."""
    fabric = serving(2)
    network, call = fabric.host.machine.network, fabric.host.machine.network.call

    def full(*_: object) -> None:
        raise Transient("no room")

    network.call = full  # type: ignore[method-assign]
    fabric.act(Verb.STOP, WEB)
    fabric.until(lambda: fabric.instance(WEB).phase.traits.is_off)
    assert called(fabric) != ready(fabric)
    network.call = call  # type: ignore[method-assign]
    fabric.until(lambda: called(fabric) == ready(fabric))
