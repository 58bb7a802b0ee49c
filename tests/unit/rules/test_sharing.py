"""Which ports of a VIP two services cannot both have, whatever kind of endpoint takes them."""

from __future__ import annotations

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource

from orchestrator.model import Endpoint, InstanceEndpoint, Mode, Ports, Role, ServiceSpec, Tls
from orchestrator.rules.sharing import clash

TLS = Tls(certificate=SecretRef(source=SecretSource.SECRET, name="shop"), redirect_from=85)
PLAIN = Endpoint(name="a", port=85, target=80)


def spec(name: str, end: Endpoint | InstanceEndpoint) -> ServiceSpec:
    """A service with one endpoint at the VIP that all share."""
    ends = {"instance_endpoints": (end,)} if isinstance(end, InstanceEndpoint) else {"endpoints": (end,)}
    role = Role(name="web", image="micro", image_sha256="0" * 64, **ends)  # type: ignore[arg-type]
    return ServiceSpec(name=name, vip="203.0.113.10", roles=(role,), shared_vip=True)


@pytest.mark.parametrize(
    ("end", "key"),
    [
        (Endpoint(name="b", port=85, target=80), "b.port"),
        (Endpoint(name="b", port=80, target=80, range=Ports(80, 90)), "b.ports"),
        (InstanceEndpoint(name="b", ports=Ports(81, 89), target=22), "b.ports"),
        (
            Endpoint(name="b", port=443, target=80, tls=TLS),
            "b.tls.redirectFrom",
        ),
    ],
)
def test_what_takes_a_port_of_another_service_is_named(end: Endpoint | InstanceEndpoint, key: str) -> None:
    """By its key, in whichever order they come."""
    found = clash(spec("blog", end), spec("shop", PLAIN))
    assert found is not None
    assert (found.key, "port 85 of 203.0.113.10" in found.message) == (f"roles.web.endpoints.{key}", True)
    back = clash(spec("shop", PLAIN), spec("blog", end))
    assert back is not None
    assert (back.key, f"({found.key})" in back.message) == ("roles.web.endpoints.a.port", True)


@pytest.mark.parametrize(
    "end",
    [
        Endpoint(name="b", port=85, target=80, mode=Mode.UDP),
        Endpoint(name="b", port=86, target=80, range=Ports(86, 90)),
        InstanceEndpoint(name="b", ports=Ports(70, 84), target=22),
    ],
)
def test_other_ports_and_other_protocols_are_no_clash(end: Endpoint | InstanceEndpoint) -> None:
    """Each to his own."""
    assert clash(spec("blog", end), spec("shop", PLAIN)) is None
