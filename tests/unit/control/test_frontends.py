"""What the balancer is told of a service's endpoints."""

from __future__ import annotations

from dataclasses import replace

from vmrole_unattend.secret import SecretRef, SecretSource

from orchestrator.control.loop import frontends
from orchestrator.drivers.network import firewall
from orchestrator.model import Endpoint, Mode, Service, Tls
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
    secure, redirect = frontends([secured()], ())
    assert (secure.pool, secure.port, secure.service) == ("shop.web.https", 443, "shop")
    assert secure.certificates == TLS.certificates
    assert (redirect.pool, redirect.port, redirect.redirect_to) == ("shop.web.https.redirect", 80, 443)
    assert (redirect.vip, redirect.mode, redirect.certificates) == (secure.vip, Mode.HTTP, ())


def test_the_firewall_opens_both() -> None:
    """Of the VIP nothing else is to be had."""
    service = secured()
    opened = firewall._wanted(service, [])["inet", "endpoints"]
    assert opened == {(service.spec.vip, "443"), (service.spec.vip, "80")}
