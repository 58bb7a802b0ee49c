"""What blame is given to judge by: each piece of evidence of records as they lie, and what is no such evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.control.healing import evidence
from orchestrator.control.present import Present
from orchestrator.drivers.fake import FakeStore
from orchestrator.model import Image, Instance, Phase, Role, ServiceSpec
from orchestrator.model.cause import Cause, Kind
from orchestrator.model.revision import Revision
from orchestrator.rules.blame import Evidence
from tests.world.fabric import web_role
from tests.world.images import MICRO, image
from tests.world.instances import instance_of

NOW_S = 1_800_000_000.0
OTHER = "b" * 64
OLD = web_role(instances=4)
ANSWERS = replace(OLD, user_data="#cloud-config\nnew: 1\n")
FRESH = replace(OLD, image="fresh", image_sha256=OTHER)


def serving(index: int, role: Role = OLD, service: str = "shop", **changes: Any) -> Instance:
    whole = {"phase": Phase.SERVING, "phase_since_s": NOW_S - 9000.0, "served_at_s": NOW_S - 9000.0, "set_up": True}
    return instance_of(role, index, service=service, **{**whole, **changes})


def unwell(index: int, ago_s: float = 10.0, service: str = "shop") -> Instance:
    return serving(index, service=service, unwell_since_s=NOW_S - ago_s)


def failed(index: int, role: Role, ago_s: float = 10.0, service: str = "shop") -> Instance:
    return instance_of(role, index, service=service, phase=Phase.FAILED, phase_since_s=NOW_S - ago_s, strikes=1)


def seen(
    own: Instance, *others: Instance, suspect: str = "", trusted_at_s: float = 0.0, **applied: float
) -> Evidence:
    """What there is to see of one among others; `applied`: how long ago the files of services were changed."""
    store = FakeStore()
    present = Present(store)
    fresh: Image = replace(image(sha256=OTHER, names=("fresh",)), suspect=suspect, trusted_at_s=trusted_at_s)
    store.commit([records.put(MICRO), records.put(fresh)])
    roles = {records.digest(role): role for one in (own, *others) for role in (one.role, one.goal.role)}
    for role in roles.values():
        store.commit([records.put_template(role)])
    for one in (own, *others):
        store.commit([records.put_wish(one), records.put_state(one)])
    for service, ago_s in applied.items():
        revision = Revision(
            service=service,
            service_uid="6a4b1a54-3c1e-4a07-9d2c-0123456789ab",
            number=1,
            spec=ServiceSpec(name=service, vip="203.0.113.10", roles=(OLD,)),
            digest="",
            applied_at_s=NOW_S - ago_s,
        )
        store.commit([records.put(revision)])
    return evidence(present, present.load(Instance, own.name), "", NOW_S)


def test_its_kind_is_that_of_its_cause() -> None:
    """Of what it waits for, or has failed by."""
    assert seen(serving(0, waits_for=Cause(Kind.NO_SPACE))).kind is Kind.NO_SPACE
    assert seen(replace(failed(0, OLD), failed_by=Cause(Kind.FAILED, reason=Cause(Kind.UNREACHABLE)))).kind is (
        Kind.UNREACHABLE
    )


def test_who_fell_ill_at_once() -> None:
    """Itself and those within a minute; not who did so before, nor who is well."""
    there = [unwell(1, 20.0), unwell(0, 60.0, "bank"), unwell(1, 400.0, "bank"), serving(2, service="bank")]
    found = seen(unwell(0), *there)
    assert (found.at_once, found.services, found.of_host) == (3, 2, 5)


@pytest.mark.parametrize(
    ("applied", "at_once", "services"),
    [
        ({}, 3, 2),
        ({"bank": 3600.0}, 3, 2),
        ({"bank": 60.0}, 2, 1),
        ({"shop": 60.0}, 1, 1),
        ({"shop": 60.0, "bank": 60.0}, 0, 0),
    ],
)
def test_a_service_whose_file_was_changed_speaks_against_no_host(
    applied: dict[str, float], at_once: int, services: int
) -> None:
    """Neither that of the instance itself nor another one's."""
    found = seen(unwell(0), unwell(1), unwell(0, service="bank"), **applied)
    assert (found.at_once, found.services) == (at_once, services)


def test_what_failed_long_ago_fell_ill_with_nobody() -> None:
    """Else those that failed at once would blame the host by one another for ever; nor what fails after now."""
    both = [failed(0, OLD, 30.0, "bank"), failed(1, OLD, 30.0, "bank")]
    assert seen(failed(0, OLD, 30.0), *both).at_once == 3
    late = [failed(0, OLD, 901.0, "bank"), failed(1, OLD, 901.0, "bank")]
    assert seen(failed(0, OLD, 901.0), *late).at_once == 1
    to_come = [failed(0, OLD, -3600.0, "bank"), failed(1, OLD, -3600.0, "bank")]
    assert seen(failed(0, OLD, -3600.0), *to_come).at_once == 1
    soon = [failed(0, OLD, -30.0, "bank"), failed(1, OLD, -30.0, "bank")]
    assert seen(unwell(0), *soon).at_once == 1, "a clock that was set back"
    assert seen(failed(0, FRESH), failed(1, FRESH, -30.0)).template_failures == 1


def test_who_has_proven_its_template() -> None:
    """It itself, another one of its role that is built the same, or somebody who trusts the image since."""
    fresh = failed(0, FRESH)
    assert not seen(fresh).proven
    assert not seen(fresh, serving(1)).proven, "with another template"
    assert not seen(fresh, serving(0, replace(FRESH, name="db"))).proven, "of another role"
    assert seen(replace(fresh, proven=True)).proven
    assert seen(fresh, serving(1, FRESH)).proven
    assert seen(fresh, trusted_at_s=NOW_S - 5.0).proven
    assert not seen(fresh, trusted_at_s=NOW_S - 15.0).proven, "it has failed since"


def test_failures_of_a_template() -> None:
    """Its own, twice when it was made anew, and those of others; long ago they count where the image is suspect."""
    assert seen(failed(0, FRESH)).template_failures == 1
    assert seen(replace(failed(0, FRESH), strikes=2, reimages=(NOW_S - 50.0,))).template_failures == 2
    assert seen(failed(0, FRESH), failed(1, FRESH)).template_failures == 2
    assert seen(failed(0, FRESH), failed(1, ANSWERS)).template_failures == 1
    assert seen(failed(0, FRESH), failed(1, FRESH, 901.0)).template_failures == 1
    assert seen(failed(0, FRESH), failed(1, FRESH, 901.0), suspect="it fails").template_failures == 2
    assert seen(failed(0, FRESH), unwell(1)).template_failures == 1


def test_those_with_another_template() -> None:
    """They have served; who of them is ill is another matter, and so is what they share of it."""
    found = seen(failed(0, FRESH), serving(1), unwell(2), failed(3, OLD))
    assert (found.older, found.older_ill, found.same_image) == (1, 1, False)
    found = seen(failed(0, ANSWERS), serving(1), serving(2, FRESH))
    assert (found.older, found.older_ill, found.same_image) == (2, 0, True)
    assert seen(failed(0, FRESH), serving(0, replace(OLD, name="db"))).older == 0
    assert seen(failed(0, FRESH), serving(1, FRESH)).older == 0


def test_all_of_a_role_after_a_change() -> None:
    """How many are ill of how many, and how long before it fell ill its file was changed."""
    found = seen(unwell(0), unwell(1), serving(2), shop=60.0)
    assert (found.ill, found.size, found.changed_ago_s) == (2, 3, 50.0)
    assert seen(unwell(0), shop=5.0).changed_ago_s == float("inf"), "it was ill before"
    assert seen(unwell(0)).changed_ago_s == float("inf")
