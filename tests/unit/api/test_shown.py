"""Instances as `GET /v1/instances` shows them: as they stand, and none encoded without need."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from orchestrator.api.comparison import seats_of
from orchestrator.api.shown import Shown
from orchestrator.api.views import InstanceView
from orchestrator.control import records
from orchestrator.model import Upgrade, Verb
from tests.world.counted import made
from tests.world.fabric import Fabric, web_role


def deployed(instances: int) -> Fabric:
    """A fabric with so many that serve."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=instances))
    fabric.until(fabric.quiet)
    return fabric


class List:
    """A list of all instances of a fabric, as somebody asks for it again and again."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._shown = Shown()

    def text(self, *, seats: bool = False) -> bytes:
        """As it goes over the wire."""
        control = self._fabric.control
        return self._shown.listed(control.instances(), control, (seats_of(control) if seats else None) or {})

    def rows(self, *, seats: bool = False) -> list[dict[str, Any]]:
        """As a client reads it."""
        rows: list[dict[str, Any]] = json.loads(self.text(seats=seats))
        return rows


def test_what_has_not_changed_is_encoded_once() -> None:
    """Of five the first list encodes all, the next none, and one after a change that one alone."""
    fabric = deployed(5)
    shown = List(fabric)
    assert [made(InstanceView, shown.text) for _ in range(3)] == [5, 0, 0]
    fabric.store.commit([records.put_state(replace(fabric.instance("web-3.shop"), warning="a test"))])
    assert made(InstanceView, shown.text) == 1
    assert [row["warning"] for row in shown.rows()] == ["", "", "", "a test", ""]


def test_what_is_shown_follows_the_instance_and_its_service() -> None:
    """Its phases, its place among the service's domains, and its seat where that is asked for."""
    fabric = deployed(2)
    shown = List(fabric)
    assert [(row["phase"], row["domain"], row["standing"]) for row in shown.rows()] == [("serving", None, None)] * 2
    assert [row["standing"] for row in shown.rows(seats=True)] == ["up", "up"]
    assert [row["standing"] for row in shown.rows()] == [None, None]

    service = fabric.control.service("shop")
    spec = replace(service.spec, upgrade=Upgrade(domains=2))
    fabric.store.commit([records.put(replace(service, spec=spec))])
    assert [row["domain"] for row in shown.rows()] == [0, 1]

    fabric.act(Verb.RESTART, "web-0.shop")
    fabric.until(lambda: fabric.instance().phase.value == "draining")
    assert shown.rows()[0]["phase"] == "draining"
    fabric.until(fabric.quiet)
    fabric.remove()
    fabric.until(lambda: not fabric.instances())
    assert shown.rows() == []
