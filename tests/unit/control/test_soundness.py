"""Records of the right shape that cannot be what they say: set aside, and nothing is made of a name in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.control import records, verify
from orchestrator.model import Instance, Power, Service
from orchestrator.ports import Write
from tests.world.fabric import Fabric

WEB, SHOP = "web-1.shop", "shop"
HOSTILE = (
    "../../etc/passwd",
    "\x1b]0;owned\x07",
    "a\nb",
    "",
    ".",
    "WEB-1.SHOP",
    "--help",
    "\u202egpj",
    "\x00",
    "x" * 5000,
)
OF_WISH = (("name",), ("service",), ("role_name",), ("uid",), ("nic", "mac"), ("nic", "address"), ("nic", "tap"))
OF_SERVICE = (("spec", "name"), ("network", "bridge"), ("network", "subnet"), ("network", "gateway"), ("spec", "vip"))


@pytest.fixture
def fabric() -> Fabric:
    """A service that serves."""
    made = Fabric()
    made.deploy()
    made.until(made.quiet)
    return made


def overwrite(fabric: Fabric, kind: str, key: str, place: tuple[str, ...], value: object) -> None:
    """Has a field of a record be that, as somebody would who knows how records are written."""
    document = fabric.store.get(kind, key)
    assert document is not None
    body: dict[str, Any] = json.loads(json.dumps(dict(document.body)))
    within = body
    for step in place[:-1]:
        within = within[step]
    within[place[-1]] = value
    fabric.store.commit([Write(kind, key, body, document.revision)])


@pytest.mark.parametrize("place", OF_WISH, ids="-".join)
def test_an_instance_is_what_its_record_is_called(fabric: Fabric, place: tuple[str, ...]) -> None:
    """Its VM goes on, nothing is made anew, and whoever looks is told."""
    for value in HOSTILE:
        overwrite(fabric, records.WISH, WEB, place, value)
        fabric.restart()
        for _ in range(3):
            fabric.round()
        assert [one.key for one in fabric.present.set_aside()] == [WEB]
        assert fabric.world.machines.keys() == {"web-0.shop", WEB}
        assert all(one.power is Power.RUNNING for one in fabric.world.machines.values())
        told = verify.findings(
            fabric.host, fabric.present.all(Service), fabric.present.all(Instance), fabric.present.set_aside()
        )
        assert "RECORD-UNREADABLE" in [one.code for one in told]
        assert fabric.world.networks["shop"] == {"web-0.shop", WEB}


@pytest.mark.parametrize("place", OF_SERVICE, ids="-".join)
def test_a_service_is_what_its_record_is_called(fabric: Fabric, place: tuple[str, ...]) -> None:
    """Its instances go on, and its VIP stays. One without a VIP is a service."""
    for value in HOSTILE if place != ("spec", "vip") else filter(None, HOSTILE):
        overwrite(fabric, records.SERVICE, SHOP, place, value)
        fabric.restart()
        for _ in range(3):
            fabric.round()
        assert [one.key for one in fabric.present.set_aside()] == [SHOP]
        assert all(one.power is Power.RUNNING for one in fabric.world.machines.values())
        assert "203.0.113.10" in fabric.world.vips
