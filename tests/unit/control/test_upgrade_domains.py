"""Rollouts by upgrade domain, with a soak, a canary and a way back, in a fake world; and what a file may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import servicefile
from orchestrator.control import records
from orchestrator.control.loop import Noun, Reconciler
from orchestrator.control.revisions import of_instance
from orchestrator.control.walking import conduct
from orchestrator.errors import Conflict, InvalidInput, Permanent, Whose
from orchestrator.model import (
    Image,
    Instance,
    OnFailure,
    Operation,
    Order,
    Phase,
    Progress,
    Rollout,
    ServiceSpec,
    Upgrade,
    Verb,
    Walking,
    instance_name,
)
from orchestrator.model.cause import TURN
from orchestrator.rules import rollout, standing
from orchestrator.rules.standing import Target, survey
from tests.world.fabric import Fabric, web_role

BAD = "#!/bin/sh\n# x\n"


def spec(name: str, upgrade: Upgrade | None = None, *, instances: int = 5) -> ServiceSpec:
    """The service whose VMs are of that kind."""
    role = web_role(user_data=f"#!/bin/sh\n# {name}\n", instances=instances)
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,), upgrade=upgrade or Upgrade())


def serving(upgrade: Upgrade, instances: int = 5) -> Fabric:
    """So many that serve, as of revision 1; whoever is built from `x` is bad."""
    fabric = Fabric()
    fabric.world.faults.bad_user_data.add(BAD)
    fabric.control.apply_spec(spec("a", upgrade, instances=instances))
    fabric.until(fabric.quiet)
    return fabric


def newest(fabric: Fabric) -> Rollout:
    """The rollout that runs, or the last one."""
    return fabric.control.rollouts("shop")[-1]


def built(fabric: Fabric) -> str:
    """Of which kind each VM is, by index."""
    return "".join(one.role.user_data[-2] for one in by_index(fabric))


def by_index(fabric: Fabric) -> list[Instance]:
    """The instances of the one role."""
    return sorted(fabric.instances(), key=lambda one: one.index)


def away(fabric: Fabric) -> list[int]:
    """Who does not serve."""
    return [one.index for one in by_index(fabric) if one.phase is not Phase.SERVING]


def rests(fabric: Fabric) -> bool:
    """Whether all serve and nobody is about to go."""
    return not away(fabric) and all(one.goal.wanted <= one.at for one in fabric.instances())


def order_of(fabric: Fabric, *, rounds: int = 3000) -> list[set[int]]:
    """Who was away together, in the order in which that came about, until the rollout is over."""
    seen: list[set[int]] = []
    for _ in range(rounds):
        if newest(fabric).progress is not Progress.RUNNING:
            return seen
        fabric.round()
        if (now := set(away(fabric))) and (not seen or seen[-1] != now):
            seen.append(now)
    raise AssertionError(newest(fabric).message)


def test_domains_go_one_after_the_other() -> None:
    """0 and 2 and 4 are of the first of two, whatever may be missed; the second begins when they serve."""
    fabric = serving(Upgrade(domains=2, max_unavailable=3))
    fabric.control.apply_spec(spec("b", Upgrade(domains=2, max_unavailable=3)))
    seen = order_of(fabric)
    first = next(number for number, one in enumerate(seen) if one & {1, 3})
    assert {0, 2, 4} in seen[:first]
    assert all(one <= {1, 3} for one in seen[first:])
    assert built(fabric) == "bbbbb"


def test_the_highest_domain_goes_first_where_that_is_asked_for() -> None:
    """By index downwards, as the domains."""
    upgrade = Upgrade(domains=2, order=Order.DESCENDING)
    fabric = serving(upgrade)
    fabric.control.apply_spec(spec("b", upgrade))
    assert order_of(fabric) == [{3}, {1}, {4}, {2}, {0}]


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.REBUILD])
def test_restarts_and_reimages_go_by_the_same(verb: Verb) -> None:
    """By domains, as many as may be missed, unless more are asked for together: a domain ends before the next."""
    fabric = serving(Upgrade(domains=2, max_unavailable=2))
    for together, most in ((None, 2), (1, 1), (5, 3)):
        asked = fabric.control.act(verb, "shop", together=together)
        seen: list[set[int]] = []
        while fabric.control.operation(asked.id).progress is Progress.RUNNING:
            fabric.round()
            if now := set(away(fabric)):
                seen.append(now)
        assert fabric.control.operation(asked.id).progress is Progress.DONE
        assert max(map(len, seen)) == most
        assert not any(one & {0, 2, 4} and one & {1, 3} for one in seen)


def test_nobody_goes_while_another_has_failed() -> None:
    """Also one with which the rollout has nothing to do: it waits, and says for whom and what to do."""
    fabric = serving(Upgrade(), instances=2)
    fabric.world.faults.services_never_start.add(instance_name("shop", "web", 2))
    fabric.control.apply_spec(spec("b", instances=3))
    fabric.until(lambda: any(one.phase is Phase.FAILED for one in fabric.instances()), rounds=3000)
    for _ in range(100):
        fabric.round()
    assert (away(fabric), built(fabric)) == ([2], "aab")
    assert "waits until web-2.shop serves again (web-2.shop has failed: vmrole reimage" in newest(fabric).message
    fabric.world.faults.services_never_start.clear()
    fabric.act(Verb.REIMAGE, "web-2.shop")
    fabric.until(fabric.quiet, rounds=3000)
    assert built(fabric) == "bbb"


def test_a_soak_comes_before_the_next_domain() -> None:
    """Also before the end: it is not done before the last one has served for that long."""
    upgrade = Upgrade(domains=2, soak_s=60.0)
    fabric = serving(upgrade, instances=2)
    fabric.control.apply_spec(spec("b", upgrade, instances=2))
    fabric.until(lambda: built(fabric) == "ba" and not away(fabric), rounds=3000)
    since_s = fabric.instance("web-0.shop").phase_since_s
    assert "web-0.shop must serve for 60 s" in newest(fabric).message or fabric.round() is None
    fabric.until(lambda: bool(away(fabric)))
    assert fabric.world.now_s() - since_s >= 60.0
    fabric.until(lambda: built(fabric) == "bb" and not away(fabric), rounds=3000)
    assert newest(fabric).progress is Progress.RUNNING
    fabric.until(fabric.quiet)
    assert fabric.world.now_s() - fabric.instance("web-1.shop").phase_since_s >= 60.0


def test_it_halts_on_who_becomes_unwell_within_its_soak() -> None:
    """Before healing has made it look well again; it says whose turn it is, and what resume and undo would do."""
    upgrade = Upgrade(domains=5, soak_s=600.0)
    fabric = serving(upgrade)
    fabric.control.apply_spec(spec("b", upgrade))
    fabric.until(lambda: built(fabric)[0] == "b" and not away(fabric), rounds=3000)
    fabric.world.faults.check_fails.add(instance_name("shop", "web", 0))
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED)
    halted = newest(fabric).message
    assert halted.startswith("web-0.shop: it served, and is unwell before it has done so for 600 s")
    assert "It is the service's turn" in halted
    assert "vmrole rollout resume shop takes up the failed, then the 4 that are left" in halted
    assert "vmrole rollout undo shop takes the 1 that were changed back to revision 1" in halted
    assert built(fabric) == "baaaa"


@pytest.mark.parametrize("whose", list(Whose))
def test_it_says_whose_turn_it_is(whose: Whose) -> None:
    """By the cause of what failed, where the cause knows; a failure in setup that tells nobody's fault is open."""
    fabric = serving(Upgrade(), instances=2)
    fabric.world.faults.refuses["disks"] = Permanent("no", whose=whose)
    fabric.control.apply_spec(spec("b", instances=2))
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED, rounds=9000)
    known = whose in (Whose.HOST, Whose.IMAGE, Whose.ANSWERS, Whose.BALANCER)
    assert (TURN[whose] in newest(fabric).message) is known
    assert ("the image's or the answers' turn" in newest(fabric).message) is not known
    del fabric.world.faults.refuses["disks"]


def test_it_halts_on_who_takes_too_long() -> None:
    """`within` is of the whole way until it serves."""
    upgrade = Upgrade(within_s=90.0)
    fabric = serving(upgrade, instances=2)
    fabric.control.apply_spec(spec("x", upgrade, instances=2))
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED)
    assert newest(fabric).message.startswith("web-0.shop: it does not serve 90 s after it was begun")
    assert built(fabric) == "xa"


@pytest.mark.parametrize("then", ["undo", "by itself"])
def test_back_go_those_that_were_changed_alone(then: str) -> None:
    """Asked for, or where upgrade.onFailure says so: the others keep the VM that they have."""
    upgrade = Upgrade(on_failure=OnFailure.UNDO if then == "by itself" else OnFailure.HALT)
    fabric = serving(upgrade)
    fabric.control.apply_spec(spec("b", upgrade))
    fabric.until(fabric.quiet, rounds=3000)
    before = [one.vm_uuid for one in by_index(fabric)]
    fabric.control.apply_spec(spec("x", upgrade))
    fabric.until(lambda: built(fabric) == "xbbbb", rounds=3000)
    if then == "undo":
        fabric.until(lambda: newest(fabric).progress is Progress.FAILED, rounds=9000)
        fabric.control.undo("shop")
    fabric.until(lambda: fabric.quiet() and newest(fabric).restores == 2, rounds=9000)
    failed = fabric.control.rollouts("shop")[-2]
    assert failed.progress is Progress.FAILED
    assert failed.message.startswith("web-0.shop: ")
    assert "It is the guest's turn" in failed.message
    assert newest(fabric).progress is Progress.DONE
    assert built(fabric) == "bbbbb"
    assert [one.vm_uuid for one in by_index(fabric)][1:] == before[1:]
    known = fabric.control.revisions("shop")
    assert [(one.number, one.restores) for one in known] == [(1, 0), (2, 0), (3, 0), (4, 2)]
    assert {of_instance(one, known) for one in fabric.instances()} == {4}


def test_what_goes_back_by_itself_removes_nobody() -> None:
    """Their local storage would go with them: those whom somebody has scaled up to stay, also when a file says so
    since.
    """
    upgrade = Upgrade(on_failure=OnFailure.UNDO)
    fabric = serving(upgrade, instances=2)
    fabric.control.scale("shop", {"web": 4})
    fabric.until(fabric.quiet)
    before = [one.vm_uuid for one in by_index(fabric)]
    fabric.control.apply_spec(spec("x", upgrade, instances=4))
    fabric.until(lambda: fabric.quiet() and newest(fabric).restores == 1, rounds=9000)
    assert built(fabric) == "aaaa"
    assert [one.vm_uuid for one in by_index(fabric)][1:] == before[1:]
    fabric.control.undo("shop", to=1)
    assert fabric.control.service("shop").spec.roles[0].instances == 2, "who asks for it gets the whole file"


def test_what_goes_back_by_itself_removes_no_role() -> None:
    """It is halted instead, and says what would."""
    upgrade = Upgrade(on_failure=OnFailure.UNDO)
    fabric = serving(upgrade, instances=2)
    bad = spec("x", upgrade, instances=2)
    more = web_role(name="more", instances=1, endpoints=())
    fabric.control.apply_spec(replace(bad, roles=(*bad.roles, more)))
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED, rounds=9000)
    why_not = "it cannot go back: revision 1 has no role more, whose instances would be removed"
    assert why_not in newest(fabric).message
    assert [one.role_name for one in by_index(fabric)].count("more") == 1


def test_one_that_cannot_go_back_is_halted_and_says_so() -> None:
    """Its revision is kept no more: nothing is changed, and nobody more is begun."""
    upgrade = Upgrade(on_failure=OnFailure.UNDO)
    fabric = serving(upgrade, instances=2)
    fabric.control.apply_spec(spec("x", upgrade, instances=2))
    fabric.store.commit([records.put(replace(newest(fabric), from_revision=7))])
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED, rounds=9000)
    assert "it cannot go back: revision 7 of service shop has never been" in newest(fabric).message
    assert built(fabric) == "xa"


def test_a_manual_one_waits_before_each_domain() -> None:
    """For `next`, which lets one go, and is refused while that one is under way; an undo waits for nobody."""
    upgrade = Upgrade(domains=2, walking=Walking.MANUAL, max_unavailable=5)
    fabric = serving(upgrade, instances=4)
    fabric.control.apply_spec(spec("b", upgrade, instances=4))
    for _ in range(100):
        fabric.round()
    assert built(fabric) == "aaaa"
    assert newest(fabric).message.endswith("waits for: vmrole rollout next shop")
    assert newest(fabric).walk.unreleased == "domain 0"
    fabric.control.next_domain("shop")
    assert newest(fabric).walk.unreleased == ""
    fabric.round()
    with pytest.raises(Conflict, match=r"domain 0 is under way: web-0\.shop, web-2\.shop"):
        fabric.control.next_domain("shop")
    fabric.until(lambda: built(fabric) == "baba" and rests(fabric), rounds=3000)
    for _ in range(100):
        fabric.round()
    assert (built(fabric), newest(fabric).walk.unreleased) == ("baba", "domain 1")
    fabric.control.pause("shop")
    fabric.round()
    assert newest(fabric).walk.unreleased == "", "it waits for another word now"
    with pytest.raises(Conflict, match="is paused"):
        fabric.control.next_domain("shop")
    fabric.control.resume("shop")
    fabric.control.next_domain("shop")
    fabric.until(fabric.quiet, rounds=3000)
    assert built(fabric) == "bbbb"
    with pytest.raises(Conflict, match="no rollout of service shop is running"):
        fabric.control.next_domain("shop")
    fabric.control.undo("shop")
    fabric.until(fabric.quiet, rounds=3000)
    assert built(fabric) == "aaaa"


def test_next_is_nothing_for_one_that_goes_by_itself() -> None:
    """It says how it would wait."""
    fabric = serving(Upgrade(domains=2), instances=2)
    fabric.control.apply_spec(spec("b", Upgrade(domains=2), instances=2))
    with pytest.raises(Conflict, match="goes on by itself") as refused:
        fabric.control.next_domain("shop")
    assert "mode: manual" in refused.value.hint


def test_a_canary_goes_first_and_then_it_pauses_by_itself() -> None:
    """Until it is resumed; one that is halted after that and taken up again needs no other canary."""
    upgrade = Upgrade(canary=1, soak_s=30.0, max_unavailable=2)
    fabric = serving(upgrade, instances=4)
    fabric.control.apply_spec(spec("b", upgrade, instances=4))
    fabric.until(lambda: newest(fabric).paused, rounds=3000)
    assert fabric.world.now_s() - fabric.instance("web-0.shop").phase_since_s >= 30.0
    for _ in range(100):
        fabric.round()
    assert built(fabric) == "baaa"
    assert newest(fabric).walk.canaries == ("web-0.shop",)
    assert "the canary serves; paused, 3 not begun until: vmrole rollout resume shop" in [
        part for event in fabric.control.events("shop") for part in [event.message.partition("; ")[2]]
    ]
    fabric.control.resume("shop")
    fabric.until(lambda: len(away(fabric)) == 2, rounds=300)
    fabric.world.faults.services_never_start.add(instance_name("shop", "web", 1))
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED, rounds=9000)
    fabric.world.faults.services_never_start.clear()
    assert newest(fabric).walk.judged
    fabric.control.resume("shop")
    assert newest(fabric).walk.canaries == ()
    fabric.until(fabric.quiet, rounds=9000)
    assert built(fabric) == "bbbb"


def test_who_is_scaled_away_ends_quietly_the_highest_first() -> None:
    """Also the one that is under way, the canary, and all that a domain has left."""
    upgrade = Upgrade(domains=2, order=Order.DESCENDING, canary=1)
    fabric = serving(upgrade, instances=4)
    fabric.control.apply_spec(spec("b", upgrade, instances=4))
    fabric.until(lambda: away(fabric) == [3])
    fabric.control.scale("shop", {"web": 2})
    fabric.until(lambda: len(fabric.instances()) == 2)
    assert [one.index for one in by_index(fabric)] == [0, 1]
    fabric.until(lambda: newest(fabric).paused or newest(fabric).progress is not Progress.RUNNING, rounds=3000)
    fabric.control.resume("shop")
    fabric.until(fabric.quiet, rounds=3000)
    assert (newest(fabric).progress, newest(fabric).message) == (Progress.DONE, "2 of 4 serving, 2 removed meanwhile")
    assert built(fabric) == "bb"


def test_what_the_file_says_anew_holds_for_a_rollout_that_runs() -> None:
    """A soak that is too long, a domain that waits: changed, without another rollout."""
    upgrade = Upgrade(domains=2, walking=Walking.MANUAL)
    fabric = serving(upgrade, instances=2)
    fabric.control.apply_spec(spec("b", upgrade, instances=2))
    fabric.round()
    applied = fabric.control.apply_spec(spec("b", Upgrade(domains=2), instances=2))
    assert [(one.key, one.before, one.after) for one in applied.changes] == [("upgrade.mode", "manual", "auto")]
    assert applied.operation is None
    fabric.until(fabric.quiet, rounds=3000)
    assert built(fabric) == "bb"
    assert len(fabric.control.rollouts("shop")) == 1


def read(upgrade: str, instances: int = 2) -> ServiceSpec:
    """A file with that below `upgrade`."""
    image = replace(Fabric().present.all(Image)[0], names=("micro",))
    text = f"service: shop\nupgrade: {upgrade}\nroles:\n  web: {{image: micro, instances: {instances}}}\n"
    return servicefile.parse(text, lambda _: image)


NOBODY = ": nobody could ever be made anew: an instance has no second VM to serve meanwhile"


@pytest.mark.parametrize(
    ("upgrade", "key", "words"),
    [
        ("{maxUnavailable: 0}", "upgrade.maxUnavailable", f"0{NOBODY}"),
        ("{maxUnavailable: 0 %}", "upgrade.maxUnavailable", f"0 %{NOBODY}"),
        ("{maxUnavailable: 0%}", "upgrade.maxUnavailable", f"0%{NOBODY}"),
        ("{maxUnavailable: 101 %}", "upgrade.maxUnavailable", "'101 %' is not such a part"),
        ("{maxUnavailable: -1}", "upgrade.maxUnavailable", "-1 is out of range"),
        ("{maxUnavailable: true}", "upgrade.maxUnavailable", "True is not a whole number"),
        ("{maxUnavailable: half}", "upgrade.maxUnavailable", "'half' is not a whole number"),
        ("{domains: 0}", "upgrade.domains", "0 is out of range"),
        ("{canary: 2}", "upgrade.canary", "2 of 2 instances: none would be left to compare it with"),
        ("{canary: 7}", "upgrade.canary", "7 of 2 instances: none would be left to compare it with"),
        ("{mode: walk}", "upgrade.mode", "'walk' is not known"),
        ("{onFailure: stop}", "upgrade.onFailure", "'stop' is not known"),
        ("{soak: 5}", "upgrade.soak", "5 is not a length of time"),
        ("{within: 0 s}", "upgrade.within", "0 s is out of range"),
        ("{maxunavailable: 1}", "upgrade.maxunavailable", "there is no such key"),
        ("5", "upgrade", "5 is not a mapping"),
    ],
)
def test_what_cannot_be_is_refused_with_line_key_and_remedy(upgrade: str, key: str, words: str) -> None:
    """Nothing is applied."""
    with pytest.raises(InvalidInput) as refused:
        read(upgrade)
    [problem] = refused.value.problems
    assert (problem.line, problem.key, problem.message) == (2, key, words)
    assert problem.hint


def test_what_can_be_is_taken() -> None:
    """More domains than instances are no fault: some have nobody."""
    spec = read("{domains: 20, maxUnavailable: 25 %, canary: 1}")
    assert spec.upgrade == Upgrade(domains=20, max_unavailable_percent=25, canary=1)
    assert [spec.upgrade.may_miss(number) for number in (1, 3, 4, 8, 100)] == [1, 1, 1, 2, 25]


def test_the_picture_in_the_docs_is_the_code() -> None:
    """docs/rollouts.md shows the states as the rule has them."""
    page = Path(__file__).resolve().parents[3] / "docs" / "rollouts.md"
    assert standing.picture() in page.read_text()


class Noting(Reconciler):
    """One that notes what it is told to look at."""

    woken: list[tuple[str, str]]

    def wake(self, kind: Noun, key: str) -> None:
        """As ever."""
        self.woken.append((kind, key))
        super().wake(kind, key)


def test_who_becomes_unwell_has_the_rollout_looked_at() -> None:
    """At once, not when it is its time again: until then the next domain might begin."""
    upgrade = Upgrade(soak_s=600.0)
    fabric = serving(upgrade, instances=2)
    fabric.control.apply_spec(spec("b", upgrade, instances=2))
    fabric.until(lambda: built(fabric) == "ba" and not away(fabric), rounds=3000)
    daemon = Noting(fabric.store, fabric.host, workers=1)
    daemon.woken = []
    daemon.attend(("service", "shop"))
    fabric.world.faults.check_fails.add(instance_name("shop", "web", 0))
    daemon.woken.clear()
    daemon.attend(("instance", instance_name("shop", "web", 0)))
    assert fabric.instance("web-0.shop").phase is Phase.SERVING
    assert fabric.instance("web-0.shop").unwell_since_s
    assert ("operation", newest(fabric).id) in daemon.woken


@pytest.mark.parametrize("upgrade", [Upgrade(max_unavailable=3), Upgrade(max_unavailable_percent=75)])
def test_a_rollout_says_how_many_go_together(upgrade: Upgrade) -> None:
    """As its service's file says, from its beginning, and as it says then when that is changed under way."""
    fabric = serving(upgrade, instances=4)
    fabric.control.apply_spec(spec("b", upgrade, instances=4))
    assert (newest(fabric).together, newest(fabric).operation.together) == (3, 3)
    fabric.control.apply_spec(spec("b", Upgrade(max_unavailable=2), instances=4))
    fabric.round()
    assert newest(fabric).operation.together == 2


def test_a_turn_of_a_rollout_looks_at_its_targets_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom to begin, and when to look again, follow from the same look."""
    looks: list[str] = []

    def counted(operation: Operation, *rest: Any) -> list[Target]:
        looks.append(operation.id)
        return survey(operation, *rest)

    upgrade = Upgrade(soak_s=30.0)
    fabric = serving(upgrade, instances=2)
    fabric.control.apply_spec(spec("b", upgrade, instances=2))
    monkeypatch.setattr(rollout, "survey", counted)
    conduct(fabric.present, fabric.host, newest(fabric).id)
    assert looks == [newest(fabric).id]
