"""Whose fault an illness is: each line of the table with what it holds for, and what is nearly so and is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import Whose
from orchestrator.model.cause import Kind
from orchestrator.rules import blame
from orchestrator.rules.blame import Evidence, judge
from tests.world.places import REPOSITORY

ALONE = Evidence(kind=Kind.CHECK_FAILS, of_host=40, size=5)
HOST = replace(ALONE, at_once=6, services=3)
NEW = replace(ALONE, arriving=True, proven=False, template_failures=2, older=3)
ALL = replace(ALONE, ill=5, changed_ago_s=60.0)


@pytest.mark.parametrize(
    ("seen", "whose"),
    [
        (ALONE, None),
        (replace(ALONE, strain="memory"), Whose.HOST),
        (replace(ALONE, kind=Kind.NO_SPACE), Whose.HOST),
        (replace(ALONE, kind=Kind.UNREACHABLE), Whose.HOST),
        (replace(ALONE, kind=Kind.PROBE_FAILS), None),
        (HOST, Whose.HOST),
        (replace(HOST, services=1), None),
        (replace(HOST, at_once=2, services=2), None),
        (replace(HOST, of_host=400), None),
        (replace(HOST, at_once=4), Whose.HOST),
        (replace(HOST, at_once=3), None),
        (replace(HOST, at_once=3, of_host=20), Whose.HOST),
        (replace(HOST, at_once=2, services=2, of_host=10), None),
        (replace(ALONE, kind=Kind.BALANCER_ALONE), Whose.BALANCER),
        (NEW, Whose.IMAGE),
        (replace(NEW, same_image=True), Whose.ANSWERS),
        (replace(NEW, template_failures=1), None),
        (replace(NEW, older=0), None),
        (replace(NEW, older_ill=1), None),
        (replace(NEW, proven=True), None),
        (replace(NEW, arriving=False), None),
        (ALL, Whose.SERVICE),
        (replace(ALL, ill=4), None),
        (replace(ALL, changed_ago_s=900.0), Whose.SERVICE),
        (replace(ALL, changed_ago_s=901.0), None),
        (replace(ALL, size=1, ill=1), None),
    ],
)
def test_the_table(seen: Evidence, whose: Whose | None) -> None:
    """A line holds for its evidence, and not for its counter-example."""
    blamed = judge(seen)
    assert (blamed.whose if blamed else None) is whose
    assert blamed is None or (blamed.cause.whose is whose and str(blamed.cause) == blamed.words)


@pytest.mark.parametrize("kind", sorted(blame.OF_THE_HOST))
def test_what_is_the_hosts_alone(kind: Kind) -> None:
    """Whatever else is to be seen."""
    blamed = judge(replace(NEW, kind=kind, ill=5, changed_ago_s=60.0))
    assert blamed is not None
    assert blamed.whose is Whose.HOST


def test_the_first_line_that_holds_decides() -> None:
    """All hold; each is taken away in its turn."""
    lines = ("strain", "kind", "at_once", "balancer", "image", "changed")
    all_of_it = replace(
        NEW, strain="memory", kind=Kind.NO_SPACE, at_once=9, services=3, ill=5, changed_ago_s=60.0, older=3
    )
    without = {
        "strain": {"strain": ""},
        "kind": {"kind": Kind.BALANCER_ALONE},
        "at_once": {"at_once": 1},
        "balancer": {"kind": Kind.CHECK_FAILS},
        "image": {"proven": True},
        "changed": {"ill": 1},
    }
    blamed = []
    for line in lines:
        found = judge(all_of_it)
        blamed.append(found.whose if found else None)
        all_of_it = replace(all_of_it, **without[line])
    assert blamed == [Whose.HOST, Whose.HOST, Whose.HOST, Whose.BALANCER, Whose.IMAGE, Whose.SERVICE]
    assert judge(all_of_it) is None


def test_the_page_has_the_table() -> None:
    """docs/healing.md shows what decides."""
    assert blame.table() in (REPOSITORY / "docs" / "healing.md").read_text()
