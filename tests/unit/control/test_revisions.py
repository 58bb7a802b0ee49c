"""The versions of a service's file: numbered, kept, taken over from stores that had none."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence

import pytest

from orchestrator.control import deployment, records, revisions
from orchestrator.control.present import Present
from orchestrator.errors import NotFound
from orchestrator.model import Image, Operation, Progress, Revision, Service, ServiceSpec, Verb
from orchestrator.ports import Write
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST


@pytest.fixture
def fabric() -> Fabric:
    """One service with two instances that serve, as of its first file."""
    fabric = Fabric()
    fabric.deploy()
    fabric.until(fabric.quiet)
    return fabric


def spec(**changes: object) -> ServiceSpec:
    """The service with one role."""
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(**changes),))


def stored(fabric: Fabric) -> list[Revision]:
    """The revisions as they lie in the store, read by somebody new."""
    return sorted(Present(fabric.store).all(Revision), key=lambda one: one.number)


def numbers(found: Sequence[Revision]) -> list[int]:
    """What they are called."""
    return [one.number for one in found]


def test_each_file_that_is_applied_is_a_revision(fabric: Fabric) -> None:
    """With its number, its time, who applied it and all that it says; the same file again is none."""
    fabric.world.pass_time(100.0)
    fabric.control.apply_spec(spec(drain_s=9.0), by=1000)
    fabric.control.apply_spec(spec(drain_s=9.0), by=1001)
    first, second = stored(fabric)
    assert (first.number, first.spec, first.applied_by) == (1, spec(), None)
    assert (second.number, second.spec, second.applied_by) == (2, spec(drain_s=9.0), 1000)
    assert 0 < first.applied_at_s < second.applied_at_s == fabric.world.now_s()
    assert first.digest != second.digest
    assert fabric.control.service("shop").file_revision == 2
    assert fabric.control.revisions("shop") == [first, second]
    with pytest.raises(NotFound, match="mall"):
        fabric.control.revisions("mall")


def test_what_is_only_looked_at_or_refused_is_none(fabric: Fabric) -> None:
    """A dry run, a check, and a file that the host has no room for."""
    fabric.control.apply_spec(spec(drain_s=9.0), dry_run=True)
    with pytest.raises(Exception, match="memory"):
        fabric.control.apply_spec(spec(size=dataclasses.replace(web_role().size, memory_mib=90_000)))
    assert numbers(stored(fabric)) == [1]


def test_scaling_makes_none_nor_does_the_same_file_after_it(fabric: Fabric) -> None:
    """A number of instances that somebody has asked for is no file's; many of them push no file out."""
    for count in (3, 1, 5):
        fabric.control.scale("shop", {"web": count})
    assert numbers(stored(fabric)) == [1]
    fabric.control.apply_spec(spec())
    assert numbers(stored(fabric)) == [1]
    assert fabric.control.service("shop").spec == spec()
    fabric.control.apply_spec(spec(instances=3))
    assert numbers(stored(fabric)) == [1, 2]


def test_the_last_ten_are_kept_and_no_number_comes_again(fabric: Fabric) -> None:
    """An older one goes in the commit of the one that is more, and with it the templates that only it names."""
    for number in range(2, 15):
        before = fabric.store.revision()
        fabric.control.apply_spec(spec(user_data=f"#!/bin/sh\n# {number}\n"))
        changed = fabric.store.changes(before)
        assert changed is not None
        [service] = [one.revision for one in changed if one.kind == records.SERVICE]
        gone = [one for one in changed if one.kind == records.REVISION and one.document is None]
        assert [one.revision for one in gone] == ([service] if number > revisions.KEPT else [])
        assert numbers(stored(fabric)) == list(range(max(1, number - 9), number + 1))
        fabric.until(fabric.quiet)
    kept = {records.digest(role) for one in stored(fabric) for role in one.spec.roles}
    assert {document.key for document in fabric.store.all(records.TEMPLATE)} == kept
    assert len(kept) == revisions.KEPT
    assert not Present(fabric.store).set_aside()


def test_a_service_that_comes_again_begins_at_one(fabric: Fabric) -> None:
    """With a service go its revisions; its successor of the same name shares none with it."""
    fabric.control.apply_spec(spec(drain_s=9.0))
    [_, old] = stored(fabric)
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    assert stored(fabric) == []
    fabric.store.commit([records.put(dataclasses.replace(old, revision=0))])  # As an earlier version leaves it.
    fabric.deploy()
    [new] = stored(fabric)
    assert (new.number, fabric.control.service("shop").file_revision) == (1, 1)
    assert new.service_uid != old.service_uid
    assert fabric.control.revisions("shop") == [new]


def as_before_there_were_revisions(fabric: Fabric) -> None:
    """The same records as a version without revisions has written them."""
    for document in fabric.store.all(records.REVISION):
        fabric.store.commit([Write(records.REVISION, document.key, None, document.revision)])
    for document in fabric.store.all(records.SERVICE):
        body = json.loads(json.dumps(dict(document.body)))
        del body["uid"], body["file_revision"]
        fabric.store.commit([Write(records.SERVICE, document.key, body, document.revision)])
    fabric.restart()


def test_a_service_of_before_has_its_file_as_revision_one(fabric: Fabric) -> None:
    """It is shown so at once, and stored so when somebody applies the next; nobody says when it was, or who."""
    as_before_there_were_revisions(fabric)
    [shown] = fabric.control.revisions("shop")
    assert (shown.number, shown.spec, shown.applied_at_s, shown.applied_by) == (1, spec(), 0.0, None)
    assert stored(fabric) == []
    fabric.control.scale("shop", {"web": 2})
    assert fabric.control.apply_spec(spec()).changes == ()
    fabric.control.apply_spec(spec(user_data="#!/bin/sh\n"), by=7)
    first, second = stored(fabric)
    assert (first.number, first.spec, first.applied_at_s, first.applied_by) == (1, spec(), 0.0, None)
    assert (second.number, second.spec.roles[0].user_data, second.applied_by) == (2, "#!/bin/sh\n", 7)
    assert first.service_uid == second.service_uid == fabric.control.service("shop").uid != ""
    fabric.until(fabric.quiet)
    assert not Present(fabric.store).set_aside()


def test_what_an_earlier_version_applied_meanwhile_is_a_revision_too(fabric: Fabric) -> None:
    """It knew of none, and has written the service alone: nothing of what ran here is lost."""
    fabric.control.apply_spec(spec(drain_s=9.0))
    service = fabric.control.service("shop")
    [template] = fabric.present.unstored([web_role(drain_s=4.0)])
    fabric.store.commit([template, records.put(dataclasses.replace(service, spec=spec(drain_s=4.0)))])
    assert numbers(fabric.control.revisions("shop")) == [1, 2, 3]
    fabric.control.apply_spec(spec(drain_s=5.0))
    assert [(one.number, one.spec.roles[0].drain_s) for one in stored(fabric)] == [(1, 2), (2, 9), (3, 4), (4, 5)]


def test_one_that_cannot_be_read_takes_no_number_from_another(fabric: Fabric) -> None:
    """It is set aside, and the next file has a number of its own."""
    fabric.control.apply_spec(spec(drain_s=9.0))
    [_, second] = stored(fabric)
    key = records.key_of(second)
    fabric.store.commit([Write(records.REVISION, key, {"number": "two"}, second.revision)])
    fabric.control.apply_spec(spec(drain_s=5.0))
    assert [(one.number, one.spec.roles[0].drain_s) for one in stored(fabric)] == [(1, 2), (3, 9), (4, 5)]
    fabric.control.apply_spec(spec(drain_s=5.0, instances=1))
    fifth = stored(fabric)[-1]
    fabric.store.commit([Write(records.REVISION, records.key_of(fifth), {"number": "five"}, fifth.revision)])
    fabric.control.apply_spec(spec(drain_s=7.0, instances=1))
    assert numbers(stored(fabric)) == [1, 3, 4, 6], "it is as the one before it, but for its count"
    fabric.present.commit([Write(records.REVISION, records.key_of(fifth), None, _at(fabric, fifth))])
    assert [(aside.kind, aside.key) for aside in fabric.present.set_aside()] == [(records.REVISION, key)]


def _at(fabric: Fabric, one: Revision) -> int:
    document = fabric.store.get(records.REVISION, records.key_of(one))
    assert document is not None
    return document.revision


def test_each_instance_says_of_which_revision_its_vm_is(fabric: Fabric) -> None:
    """The newest that makes the VM which it has: before a rollout has come to it, after it, and after a restart."""
    fabric.control.apply_spec(spec(user_data="#!/bin/sh\n"))
    known = fabric.control.revisions("shop")
    assert [revisions.of_instance(one, known) for one in fabric.instances()] == [1, 1]
    fabric.until(lambda: any(one.generation == 2 for one in fabric.instances()))
    assert sorted(revisions.of_instance(one, known) for one in fabric.instances()) == [1, 2]
    fabric.until(fabric.quiet)
    fabric.control.apply_spec(spec(user_data="#!/bin/sh\n", drain_s=9.0))
    fabric.act(Verb.RESTART, "shop")
    fabric.until(fabric.quiet)
    known = fabric.control.revisions("shop")
    assert [revisions.of_instance(one, known) for one in fabric.instances()] == [3, 3]
    assert [revisions.of_instance(one, known[:1]) for one in fabric.instances()] == [0, 0]


def test_after_any_history_the_newest_is_what_the_service_says(fabric: Fabric) -> None:
    """But for counts that were scaled; numbers rise, ten are kept, and who reads changes sees what others do."""
    chance, watching, seen = random.Random(11), Present(fabric.store), 1
    for _ in range(60):
        if chance.random() < 0.3:
            fabric.control.scale("shop", {"web": chance.randint(0, 3)})
        else:
            fabric.control.apply_spec(spec(drain_s=float(chance.randint(1, 4)), instances=chance.randint(0, 2)))
        service, found = fabric.control.service("shop"), fabric.control.revisions("shop")
        last = found[-1]
        assert last.revision, "nothing is left to be taken over"
        assert last.spec.roles[0].drain_s == service.spec.roles[0].drain_s
        assert service.file_revision == last.number in (seen, seen + 1)
        assert numbers(found) == list(range(max(1, last.number - 9), last.number + 1))
        assert sorted(watching.revisions_of("shop"), key=lambda one: one.number) == found == stored(fabric)
        seen = last.number
    assert seen > 20


def test_the_largest_apply_is_one_commit() -> None:
    """As many images and roles as a service may have, too much to forget, a rollout that ends and one that begins."""
    fabric = Fabric()
    known = dataclasses.replace(fabric.present.load(Image, DIGEST), revision=0)
    for number in range(deployment.IMAGES_MAX):
        fabric.store.commit([records.put(dataclasses.replace(known, sha256=f"{number:064x}", names=(f"i{number}",)))])

    def roles(version: int) -> ServiceSpec:
        images = [f"{number % deployment.IMAGES_MAX:064x}" for number in range(100)]
        return ServiceSpec(
            name="shop",
            vip="",
            roles=tuple(
                web_role(
                    name=f"r{number}",
                    image_sha256=image,
                    instances=int(number < 2),
                    endpoints=(),
                    user_data=f"#!/bin/sh\n# {version}\n",
                )
                for number, image in enumerate(images)
            ),
        )

    fabric.control.apply_spec(roles(0))
    [first] = stored(fabric)
    for number in range(30):
        stranger = dataclasses.replace(first, service_uid="another", number=number, revision=0)
        over = Operation(
            id=f"old-{number}", verb=Verb.RESTART, subject="shop", service="shop", targets=(), progress=Progress.DONE
        )
        fabric.store.commit([records.put(stranger), records.put(over)])
        fabric.store.commit([records.put(dataclasses.replace(over, id=f"older-{number}"))])
    for version in range(1, 15):
        fabric.control.apply_spec(roles(version))
    assert [one.number for one in fabric.control.revisions("shop")] == list(range(6, 16))
    assert len(stored(fabric)) == revisions.KEPT
