"""What the balancer is told of a service's endpoints."""

from __future__ import annotations

from dataclasses import replace

from vmrole_unattend.secret import SecretRef, SecretSource

from orchestrator.control import records
from orchestrator.drivers.network import firewall
from orchestrator.model import Endpoint, Mode, Service, Tls
from orchestrator.rules.frontends import frontends_of
from tests.world.fabric import Fabric, web_role

TLS = Tls(certificate=SecretRef(source=SecretSource.SECRET, name="shop"), redirect_from=80)


def secured() -> Service:
    """A service of an endpoint that speaks TLS at 443 and sends clients on to it from 80."""
    fabric = Fabric()
    end = Endpoint(name="https", port=443, target=8080, mode=Mode.HTTP, tls=TLS)
    fabric.deploy(replace(web_role(instances=1), endpoints=(end,)))
    return fabric.present.load(Service, "shop")


def test_an_endpoint_that_sends_on_listens_twice() -> None:
    """At both ports of its VIP; nobody is a member of the second, which needs no certificate."""
    secure, redirect = frontends_of(secured())
    assert (secure.pool, secure.port, secure.service) == ("shop.web.https", 443, "shop")
    assert secure.certificates == TLS.certificates
    assert (redirect.pool, redirect.port, redirect.redirect_to) == ("shop.web.https.redirect", 80, 443)
    assert (redirect.vip, redirect.mode, redirect.certificates) == (secure.vip, Mode.HTTP, ())


def test_the_firewall_opens_both() -> None:
    """Of the VIP nothing else is to be had."""
    service = secured()
    opened = firewall._wanted(service, [])["inet", "endpoints"]
    assert opened == {(service.spec.vip, "443"), (service.spec.vip, "80")}


def test_what_nothing_has_changed_is_made_once() -> None:
    """What instances do makes no endpoint anew; a file that is applied does. Who leaves is seen until he has left."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    before, vips = fabric.present.frontends(), fabric.present.vips()
    fabric.until(fabric.quiet)
    assert fabric.present.frontends() is before
    assert fabric.present.vips() is vips
    assert vips == {"203.0.113.10": ("shop",)}
    assert [service.name for service in fabric.present.faced()] == ["shop"]

    fabric.deploy(replace(web_role(instances=1), endpoints=()))
    assert fabric.present.frontends() == ()
    fabric.deploy(web_role(instances=1))
    assert fabric.present.frontends() == before

    fabric.remove()
    assert fabric.present.frontends() == before
    assert fabric.present.frontends() is fabric.present.frontends()
    fabric.store.commit(records.drop_instance(fabric.instance()))
    assert fabric.present.frontends() == ()
    assert fabric.present.vips() == {}
