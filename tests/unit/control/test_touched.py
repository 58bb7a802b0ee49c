"""What is kept of instances that have gone."""

from __future__ import annotations

import dataclasses

from orchestrator.control import records
from orchestrator.control.touched import Departed
from orchestrator.model import InstanceName
from tests.world.fabric import Fabric, web_role


def test_what_has_gone_is_told_as_it_was_last() -> None:
    """Also by who looks for the first time after it all."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2), name="shop")
    fabric.until(fabric.quiet)
    seen = fabric.store.revision()
    last = dataclasses.replace(fabric.instance("web-1.shop"), warning="ended it")
    fabric.present.commit([records.put_state(last)])
    fabric.present.commit(records.drop_instance(fabric.instance("web-1.shop")))
    touched = fabric.present.touched(seen)
    assert touched is not None
    assert touched.instances == {"web-1.shop": None}
    assert {name: gone.warning for name, gone in touched.departed.items()} == {"web-1.shop": "ended it"}


def test_so_many_are_kept_and_no_more() -> None:
    """Those that went last; one that comes back and goes again is kept once, as it was the last time."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=3), name="shop")
    fabric.until(fabric.quiet)
    first, second, third = (fabric.instance(f"web-{number}.shop") for number in range(3))
    departed = Departed(kept=2)
    for gone in (first, second, dataclasses.replace(first, warning="again"), third):
        departed.add(gone)
    kept = departed.of(InstanceName(f"web-{number}.shop") for number in range(3))
    assert {name: gone.warning for name, gone in kept.items()} == {"web-0.shop": "again", "web-2.shop": ""}
