"""Labels of services and roles, and what selects by them."""

from __future__ import annotations

import pytest

from orchestrator import servicefile
from orchestrator.control import asking
from orchestrator.errors import Conflict, InvalidInput
from orchestrator.model import ServiceSpec, Verb
from orchestrator.rules import selector
from orchestrator.servicefile.difference import difference
from tests.world.fabric import Fabric, web_role
from tests.world.images import MICRO

FILE = """\
service: shop
labels: {env: prod, tier: none}
roles:
  web: {image: micro, labels: {tier: front, example.com/zone: a-1}}
  db: {image: micro}
"""
HAS = {"tier": "front", "env": "prod", "example.com/zone": "a-1", "bare": ""}


def read(text: str) -> ServiceSpec:
    """The service of a file whose images are all the micro one."""
    return servicefile.parse(text, lambda _: MICRO)


def test_a_role_has_its_own_labels_and_its_service_s() -> None:
    """What both say the role says."""
    spec = read(FILE)
    assert dict(spec.labels) == {"env": "prod", "tier": "none"}
    web, db = spec.roles
    assert dict(web.labels) == {"env": "prod", "tier": "front", "example.com/zone": "a-1"}
    assert dict(db.labels) == {"env": "prod", "tier": "none"}


@pytest.mark.parametrize(
    ("labels", "key", "words"),
    [
        ("front", "roles.web.labels", "is not a mapping"),
        ("{tier: 7}", "roles.web.labels.tier", "is not a string"),
        ("{tier: a b}", "roles.web.labels.tier", "is no value of a label"),
        ("{tier: -a}", "roles.web.labels.tier", "is no value of a label"),
        (f"{{tier: {'a' * 64}}}", "roles.web.labels.tier", "is no value of a label"),
        ("{-tier: a}", "roles.web.labels.-tier", "is no key of a label"),
        ("{a/b/c: a}", "roles.web.labels.a/b/c", "is no key of a label"),
        ("{Example.com/tier: a}", "roles.web.labels.Example.com/tier", "is no key of a label"),
        (f"{{{'a' * 64}: a}}", f"roles.web.labels.{'a' * 64}", "is no key of a label"),
        ('{"": a}', "roles.web.labels.", "is no key of a label"),
    ],
)
def test_a_bad_label_is_told_with_its_place(labels: str, key: str, words: str) -> None:
    """Line, key and what would be right."""
    with pytest.raises(InvalidInput) as caught:
        read(f"service: shop\nroles:\n  web:\n    image: micro\n    labels: {labels}\n")
    (problem,) = caught.value.problems
    assert (problem.key, problem.line) == (key, 5)
    assert words in problem.message
    assert problem.hint


@pytest.mark.parametrize("value", ["", "a", "A_b.c-1", "a" * 63])
def test_what_kubernetes_takes_is_taken(value: str) -> None:
    """Also a value that is empty."""
    assert not selector.value_fault(value)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("tier=front", True),
        ("tier==front", True),
        ("tier=back", False),
        ("tier!=front", False),
        ("tier!=back,env=prod", True),
        ("tier=front,env=test", False),
        ("nosuch!=x", True),
        ("tier", True),
        ("nosuch", False),
        ("!nosuch", True),
        ("! tier", False),
        ("bare=", True),
        ("tier in (front, back), env", True),
        ("tier in (back)", False),
        ("tier notin (back,mid)", True),
        ("nosuch notin (a)", True),
        ("example.com/zone=a-1", True),
        (" tier = front , env != test ", True),
    ],
)
def test_what_a_selector_selects(text: str, holds: bool) -> None:
    """As kubectl's -l."""
    assert selector.matches(selector.parse(text), HAS) is holds


@pytest.mark.parametrize(
    "text", ["=", ",", "tier=front,", "a=b=c", "tier in", "tier in front", "tier in (a", "a b", "-a=b", "a=-b", "!"]
)
def test_a_selector_that_is_none_selects_nothing(text: str) -> None:
    """It is refused with what may be written: a slip of the pen never means everything."""
    with pytest.raises(InvalidInput, match="selects nothing") as caught:
        selector.parse(text)
    assert caught.value.hint


def test_a_verb_is_for_those_that_are_selected() -> None:
    """Of a service, those of the roles with these labels; none is a conflict, and a bad selector does nothing."""
    fabric = Fabric()
    fabric.deploy(web_role(labels=(("tier", "front"),)), web_role(name="db", endpoints=(), instances=1))
    fabric.until(fabric.quiet)
    for verb in Verb:
        with pytest.raises(Conflict, match="no instance of shop has the labels"):
            fabric.control.act(verb, "shop", labels="tier=back")
        with pytest.raises(InvalidInput):
            fabric.control.act(verb, "shop", labels="=")
    before = {one.name: one.boot for one in fabric.instances()}
    fabric.control.act(Verb.RESTART, "shop", labels="tier!=front")
    fabric.until(fabric.quiet)
    after = {one.name: one.boot for one in fabric.instances()}
    assert {name for name in after if after[name] > before[name]} == {"db-0.shop"}
    assert [one.name for one in asking.selected(fabric.instances(), "tier")] == ["web-0.shop", "web-1.shop"]


def test_other_labels_restart_and_reimage_nothing() -> None:
    """They follow at once, are told, and no VM hears of them."""
    fabric = Fabric()
    fabric.deploy(web_role(labels=(("tier", "front"),)))
    fabric.until(fabric.quiet)
    boots = [one.at for one in fabric.instances()]
    spec = fabric.control.service("shop").spec
    other = ServiceSpec(
        name="shop", vip=spec.vip, labels=(("env", "prod"),), roles=(web_role(labels=(("tier", "back"),)),)
    )
    assert {(one.key, one.before, one.after, one.effect) for one in difference(spec, other)} == {
        ("labels", "", "env=prod", "no restart"),
        ("roles.web.labels.tier", "front", "back", "no restart"),
    }
    applied = fabric.control.apply_spec(other)
    assert applied.operation is None
    fabric.until(fabric.quiet)
    assert [one.at for one in fabric.instances()] == boots
    assert len(asking.selected(fabric.control.instances("shop"), "tier=back")) == 2
    assert fabric.control.operations() == []
