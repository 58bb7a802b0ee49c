"""What may be asked of a rollout: to go back, to wait, to go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource

from orchestrator.api.revision_views import view_revisions
from orchestrator.control import records, revisions
from orchestrator.errors import Conflict, NotFound, StaleRevision, VmroleError
from orchestrator.model import (
    Image,
    InstanceName,
    Phase,
    Progress,
    Rollout,
    ServiceSpec,
    Verb,
    instance_name,
)
from orchestrator.ports import Write
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST

WEB_0, WEB_1 = (instance_name("shop", "web", index) for index in range(2))


def spec(name: str, **changes: object) -> ServiceSpec:
    """The service with one role whose VMs are of that kind."""
    role = web_role(**{"user_data": f"#!/bin/sh\n# {name}\n", **changes})
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,))


def built(fabric: Fabric) -> str:
    """Of which kind each instance's VM is, by name."""
    return "".join(one.role.user_data[-2] for one in fabric.instances())


def all_serve(fabric: Fabric) -> bool:
    """Whether each is in its place."""
    return all(one.phase is Phase.SERVING for one in fabric.instances())


def newest(fabric: Fabric) -> Rollout:
    """The rollout that runs, or the last one."""
    return fabric.control.rollouts("shop")[-1]


@pytest.fixture
def fabric() -> Fabric:
    """Two instances that serve, as of the second of two files."""
    fabric = Fabric()
    for name in ("a", "b"):
        fabric.control.apply_spec(spec(name))
        fabric.until(fabric.quiet)
    return fabric


# Going back --------------------------------------------------------------------------------------------------


def test_undo_makes_the_file_before_the_last_the_newest(fabric: Fabric) -> None:
    """As a revision of its own that says which it goes back to; by a rollout like that of any other apply."""
    applied = fabric.control.undo("shop", by=1000)
    assert applied.service is not None
    assert applied.service.spec == spec("a")
    assert [change.key for change in applied.changes] == ["roles.web.answers.userData"]
    last = fabric.control.revisions("shop")[-1]
    assert (last.number, last.restores, last.applied_by, last.spec) == (3, 1, 1000, spec("a"))
    assert applied.operation is not None
    assert newest(fabric).id == applied.operation.id
    assert (newest(fabric).from_revision, newest(fabric).to_revision) == (2, 3)
    assert fabric.control.events("shop")[-1].message == "went back to revision 1: roles.web.answers.userData"
    fabric.until(fabric.quiet)
    assert built(fabric) == "aa"
    fabric.control.undo("shop")
    fabric.until(fabric.quiet)
    assert (built(fabric), fabric.control.revisions("shop")[-1].restores) == ("bb", 2)


def test_undo_goes_to_any_revision_that_is_kept(fabric: Fabric) -> None:
    """Also to one before several; to the one that stands it does nothing, a dry run does nothing but tell."""
    for name in ("c", "d"):
        fabric.control.apply_spec(spec(name))
    before = fabric.store.revision()
    told = fabric.control.undo("shop", to=1, dry_run=True)
    assert [change.key for change in told.changes] == ["roles.web.answers.userData"]
    assert fabric.control.undo("shop", to=4).changes == ()
    assert fabric.store.revision() == before
    fabric.control.undo("shop", to=1)
    fabric.until(fabric.quiet)
    assert built(fabric) == "aa"
    assert [one.restores for one in fabric.control.revisions("shop")] == [0, 0, 0, 0, 1]


def test_undo_leaves_a_number_that_somebody_has_scaled_to(fabric: Fabric) -> None:
    """Three serve because the load wants them, whatever VMs are built from; a file's number is the file's."""
    fabric.control.scale("shop", {"web": 3})
    fabric.until(fabric.quiet)
    fabric.control.undo("shop")
    fabric.until(fabric.quiet)
    assert built(fabric) == "aaa"
    fabric.control.apply_spec(spec("a", instances=1))
    fabric.control.undo("shop")
    assert fabric.control.service("shop").spec == spec("a", instances=3)


def first_is_gone(fabric: Fabric) -> None:
    """Its image is another one, which nothing uses by now."""
    first = revisions.known(fabric.control.service("shop"), fabric.present.revisions_of("shop"))[0]
    known = fabric.present.load(Image, DIGEST)
    other = replace(known, sha256="b" * 64, names=("old",), revision=0)
    role = replace(first.spec.roles[0], image="old", image_sha256=other.sha256)
    [template] = fabric.present.unstored([role])
    past = replace(first, spec=replace(first.spec, roles=(role,)))
    fabric.store.commit([template, records.put(past)])


def first_has_a_secret(fabric: Fabric) -> None:
    """It names one that its owner has taken away since."""
    first = fabric.control.revisions("shop")[0]
    role = replace(
        first.spec.roles[0], user_data="", user_data_from=SecretRef(source=SecretSource.SECRET, name="password")
    )
    [template] = fabric.present.unstored([role])
    past = replace(first, spec=replace(first.spec, roles=(role,)))
    fabric.store.commit([template, records.put(past)])
    fabric.control._secret_fault = lambda service, secret: f"{service} has no secret {secret.name}"


@pytest.mark.parametrize(
    ("before", "to", "kind", "words"),
    [
        (lambda fabric: fabric.control.undo("shop", to=2), 9, NotFound, "revision 9 of service shop has never"),
        (
            first_is_gone,
            None,
            Conflict,
            r"needs image old \(bbbbbbbbbbbb\), which is gone",
        ),
        (first_has_a_secret, None, Conflict, "revision 1 of service shop needs .*password.*: shop has"),
        (lambda fabric: fabric.remove(), None, Conflict, "service shop is being deleted"),
    ],
    ids=["never-was", "image-is-gone", "secret-is-gone", "service-goes"],
)
def test_undo_is_refused_with_a_clear_word(
    fabric: Fabric, before: Callable[[Fabric], object], to: int | None, kind: type[VmroleError], words: str
) -> None:
    """And a hint; nothing is written."""
    before(fabric)
    revision = fabric.store.revision()
    with pytest.raises(kind, match=words) as refused:
        fabric.control.undo("shop", to=to)
    assert refused.value.hint
    assert fabric.store.revision() == revision


def test_undo_needs_something_to_go_back_to() -> None:
    """Of the first file there is none before it; one of ten before is no longer kept; a service must be one."""
    fabric = Fabric()
    with pytest.raises(NotFound, match="shop"):
        fabric.control.undo("shop")
    fabric.control.apply_spec(spec("0"))
    with pytest.raises(Conflict, match="service shop has no revision before 1"):
        fabric.control.undo("shop")
    for number in range(1, 12):
        fabric.control.apply_spec(spec(str(number)))
    with pytest.raises(NotFound, match="revision 2 of service shop is no longer kept"):
        fabric.control.undo("shop", to=2)
    with pytest.raises(StaleRevision):
        fabric.control.undo("shop", expected=fabric.control.service("shop").revision - 1)
    fabric.control.undo("shop", to=3, expected=fabric.control.service("shop").revision)


def test_undo_of_a_service_of_before_there_were_revisions(fabric: Fabric) -> None:
    """What stands is the first; after another file one can go back to it."""
    for kind in (records.REVISION, records.SERVICE):
        for document in fabric.store.all(kind):
            body = json.loads(json.dumps(dict(document.body)))
            kept = (
                {key: body[key] for key in ("spec", "network", "created_at_s")} if kind == records.SERVICE else None
            )
            fabric.store.commit([Write(kind, document.key, kept, document.revision)])
    with pytest.raises(Conflict, match="no revision before 1"):
        fabric.control.undo("shop")
    fabric.control.apply_spec(spec("c"))
    fabric.control.undo("shop")
    fabric.until(fabric.quiet)
    assert built(fabric) == "bb"
    assert [one.number for one in fabric.control.revisions("shop")] == [1, 2, 3]


def begun(fabric: Fabric) -> None:
    """The first of two is under way to the third file."""
    fabric.control.apply_spec(spec("c"))
    fabric.until(lambda: any(one.generation == 3 for one in fabric.instances()))


def halt(fabric: Fabric) -> None:
    """It fails, and halts the rollout."""
    begun(fabric)
    fabric.world.faults.services_never_start.update((WEB_0, WEB_1))
    fabric.until(lambda: newest(fabric).progress is Progress.FAILED, rounds=9000)
    fabric.world.faults.services_never_start.clear()


def pause(fabric: Fabric) -> None:
    """It is paused with the first of two under way."""
    begun(fabric)
    fabric.control.pause("shop")


@pytest.mark.parametrize("stands", [begun, pause, halt])
def test_undo_puts_an_end_to_the_rollout_that_is(fabric: Fabric, stands: Callable[[Fabric], None]) -> None:
    """One that runs or is paused is superseded; whoever has the new template gets the old one again."""
    stands(fabric)
    before = newest(fabric)
    fabric.control.undo("shop")
    over = Progress.FAILED if stands is halt else Progress.SUPERSEDED
    assert fabric.control.operation(before.id).progress is over
    assert not newest(fabric).paused
    fabric.until(fabric.quiet)
    assert (built(fabric), newest(fabric).progress) == ("bb", Progress.DONE)
    assert all_serve(fabric)


# Waiting and going on ----------------------------------------------------------------------------------------


def test_a_paused_rollout_begins_nobody_and_ends_who_is_under_way(fabric: Fabric) -> None:
    """Over a restart of the daemon as well; everybody who asks is told; resumed it goes on where it was."""
    pause(fabric)
    under_way = [one.name for one in fabric.instances() if one.goal.wanted.generation == 3]
    fabric.restart()
    fabric.until(
        lambda: all(one.phase is Phase.SERVING for one in fabric.instances()) and len(set(built(fabric))) == 2
    )
    for _ in range(300):
        fabric.round()
    assert [one.name for one in fabric.instances() if one.generation == 3] == under_way
    assert (newest(fabric).progress, newest(fabric).paused) == (Progress.RUNNING, True)
    assert newest(fabric).message == "1 of 2 serving; paused, 1 not begun"
    operation = fabric.control.operation(newest(fabric).id)
    assert (operation.paused, operation.message) == (True, newest(fabric).message)
    [left] = {WEB_0, WEB_1} - set(under_way)
    words = "(revision 2, and 3 is the newest): its rollout is paused until: vmrole rollout resume shop."
    assert any(line.endswith(words) for line in fabric.control.why(left))
    revision = fabric.store.revision()
    assert fabric.control.pause("shop").paused, "asking again changes nothing"
    assert fabric.store.revision() == revision
    assert not fabric.control.resume("shop").paused
    revision = fabric.store.revision()
    assert not fabric.control.resume("shop").paused
    assert fabric.store.revision() == revision
    assert any(line.endswith("it awaits its turn in the rollout.") for line in fabric.control.why(left))
    fabric.until(fabric.quiet)
    assert (built(fabric), newest(fabric).progress) == ("cc", Progress.DONE)
    told = [event.message for event in fabric.control.events("shop")]
    assert "the rollout to revision 3 is paused" in told
    assert "the rollout to revision 3 is resumed" in told


def test_while_it_is_paused_other_requests_go_on(fabric: Fabric) -> None:
    """A change that replaces no VM leaves it paused, a new instance is of the new file, healing keeps the old one."""
    pause(fabric)
    [left] = [one.name for one in fabric.instances() if one.goal.wanted.generation == 2]
    fabric.control.apply_spec(spec("c", drain_s=1.0))
    fabric.control.scale("shop", {"web": 3})
    fabric.act(Verb.RESTART, left)
    fabric.until(lambda: all_serve(fabric))
    fabric.world.kill(left)
    fabric.until(
        lambda: len(fabric.instances()) == 3 and all(one.phase is Phase.SERVING for one in fabric.instances())
    )
    assert newest(fabric).paused
    assert sorted(built(fabric)) == ["b", "c", "c"]
    fabric.control.resume("shop")
    fabric.until(fabric.quiet)
    assert built(fabric) == "ccc"


def test_who_is_stopped_takes_the_file_only_after_the_pause(fabric: Fabric) -> None:
    """Started meanwhile he boots as he was; stopped and resumed he is made anew at his start."""
    begun(fabric)
    [left] = [one.name for one in fabric.instances() if one.goal.wanted.generation == 2]
    fabric.control.pause("shop")
    for verb, phase in ((Verb.STOP, Phase.STOPPED), (Verb.START, Phase.SERVING), (Verb.STOP, Phase.STOPPED)):
        fabric.act(verb, left)
        fabric.until(lambda phase=phase: fabric.instance(left).phase is phase)  # type: ignore[misc]
        assert fabric.instance(left).generation == 2
    fabric.control.resume("shop")
    fabric.until(fabric.quiet)
    fabric.act(Verb.START, left)
    fabric.until(fabric.quiet)
    assert built(fabric) == "cc"


def test_there_must_be_a_rollout_to_be_paused_or_resumed(fabric: Fabric) -> None:
    """Else it is a conflict that says how to look, and nothing is written."""
    revision = fabric.store.revision()
    for ask in (fabric.control.pause, fabric.control.resume):
        with pytest.raises(Conflict, match="no rollout of service shop is") as refused:
            ask("shop")
        assert refused.value.hint == "ask: vmrole rollout status shop"
        with pytest.raises(NotFound, match="mall"):
            ask("mall")
    assert fabric.store.revision() == revision


def test_resume_takes_up_what_a_halted_one_has_left(fabric: Fabric) -> None:
    """As the same file applied again does, to the same revision; a number that was scaled stays."""
    halt(fabric)
    fabric.control.scale("shop", {"web": 3})
    revision = fabric.control.revisions("shop")[-1].number
    resumed = fabric.control.resume("shop")
    assert (resumed.from_revision, resumed.to_revision) == (2, 3)
    assert fabric.control.revisions("shop")[-1].number == revision
    fabric.until(fabric.quiet)
    assert built(fabric) == "ccc"


# Telling -----------------------------------------------------------------------------------------------------


def test_history_says_what_changed_and_who_has_it(fabric: Fabric) -> None:
    """In the words of diff, and never a text that may hold a secret; each instance once, at the newest it is of."""
    fabric.control.apply_spec(spec("b", drain_s=1.0))
    begun(fabric)
    known = fabric.control.revisions("shop")
    first, second, third, fourth = view_revisions(known, fabric.control.instances("shop"))
    assert [(one.key, one.after) for one in first.changes] == [("shop", "new service")]
    assert [(one.key, one.before, one.after) for one in second.changes] == [
        ("roles.web.answers.userData", "…", "… (changed)")
    ]
    assert [(one.key, one.before, one.after) for one in third.changes] == [("roles.web.drain", "2 s", "1 s")]
    assert [one.key for one in fourth.changes] == ["roles.web.answers.userData", "roles.web.drain"]
    assert [len(one.instances) for one in (first, second, third, fourth)] == [0, 0, 1, 1]
    fabric.until(fabric.quiet)
    views = view_revisions(known, fabric.control.instances("shop"))
    assert [one.instances for one in views] == [(), (), (), (WEB_0, WEB_1)]
    kept = view_revisions(known[1:], [])
    assert kept[0].changes == (), "the one before it is not known"


def test_rollouts_of_a_former_service_are_none_of_the_present_ones(fabric: Fabric) -> None:
    """Its operations are still told; of its rollouts the new service knows nothing."""
    assert newest(fabric).progress is Progress.DONE
    fabric.remove()
    fabric.until(lambda: not fabric.control.services())
    fabric.control.apply_spec(spec("a"))
    assert fabric.control.rollouts("shop") == []
    assert [one.subject for one in fabric.control.operations()] == ["shop"]
    assert InstanceName("web-0.shop") in {one.name for one in fabric.instances()}
