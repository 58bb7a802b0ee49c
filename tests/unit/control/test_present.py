"""What everybody reads: decoded once, indexed, and never stopped by what cannot be read."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.control.loop import Reconciler
from orchestrator.control.present import Present
from orchestrator.control.upgrade import upgrade
from orchestrator.drivers.fake import FakeStore
from orchestrator.errors import Permanent
from orchestrator.model import Cause, Instance, Operation, Progress, Service, Unit, UnitState, Verb
from orchestrator.model.cause import Kind, recorded
from orchestrator.ports import Change, Document, Write
from tests.world import fleet
from tests.world.fabric import Fabric, web_role
from tests.world.places import GOLDEN_FILES

LARGE = "#!/bin/sh\n# " + "x" * 65_000 + "\n"


def body(fabric: Fabric, kind: str, key: str) -> dict[str, Any]:
    """A document as it lies, free to be changed."""
    document = fabric.store.get(kind, key)
    assert document is not None
    whole: dict[str, Any] = json.loads(json.dumps(dict(document.body)))
    return whole


def overwrite(fabric: Fabric, kind: str, key: str, content: dict[str, Any]) -> None:
    """As another version would."""
    document = fabric.store.get(kind, key)
    fabric.store.commit([Write(kind, key, content, document.revision if document else 0)])


@pytest.fixture
def fabric() -> Fabric:
    """Three instances that serve."""
    whole = Fabric()
    whole.deploy()
    whole.until(whole.quiet)
    return whole


def test_it_says_what_the_store_holds_after_any_history(fabric: Fabric) -> None:
    """Fed by changes, one that has looked on all the time equals one that reads everything now, indexes and all."""
    chance, watching = random.Random(7), Present(fabric.store)
    for _ in range(30):
        verb = chance.choice([Verb.RESTART, Verb.REIMAGE])
        fabric.control.act(verb, "web-0.shop")
        for _ in range(chance.randrange(6)):
            fabric.round()
            watching.all(Instance)
    fresh = Present(fabric.store)
    for of in (Service, Instance, Operation):
        assert watching.all(of) == fresh.all(of)
    assert watching.instances_of("shop") == fresh.instances_of("shop")
    assert watching.running_operations("shop") == fresh.running_operations("shop")
    assert watching.instances_called("web-1") == fresh.instances_called("web-1")
    assert watching.unused_templates() == fresh.unused_templates()


def test_a_look_costs_what_has_changed(fabric: Fabric) -> None:
    """Asked again, nothing is decoded; after a save of one instance, one is."""
    present = Present(fabric.store)
    present.all(Instance)
    before = present.decoded
    for _ in range(10):
        present.all(Instance)
        present.find(Service, "shop")
    assert present.decoded == before
    instance = fabric.instance()
    present.commit([records.put_state(dataclasses.replace(instance, waits_for=recorded("for a friend")))])
    assert present.load(Instance, "web-0.shop").waiting == "for a friend"
    assert present.decoded == before + 1


def test_a_record_of_a_later_version_stops_nobody_else(fabric: Fabric) -> None:
    """An operation with a verb that is not known, an instance in a phase that is not: each is set aside and told."""
    overwrite(fabric, records.OPERATION, "later", {"id": "later", "verb": "teleport", "subject": "shop"})
    state = body(fabric, records.STATE, "web-1.shop")
    overwrite(fabric, records.STATE, "web-1.shop", {**state, "phase": "levitating"})
    fabric.control.act(Verb.REIMAGE, "web-0.shop")
    fabric.restart()
    fabric.until(lambda: fabric.instance().generation == 2 and fabric.quiet())
    assert [(aside.kind, aside.key) for aside in fabric.present.set_aside()] == [
        ("instance", "web-1.shop"),
        ("operation", "later"),
    ]
    with pytest.raises(Permanent, match="phase"):
        fabric.present.find(Instance, "web-1.shop")
    assert "web-1.shop" in fabric.world.networks["shop"], "the VM that nobody can account for keeps its network"
    overwrite(fabric, records.STATE, "web-1.shop", state)
    assert fabric.present.load(Instance, "web-1.shop").phase == state["phase"]


def test_no_service_gets_the_network_of_one_that_cannot_be_read(fabric: Fabric) -> None:
    """Its instances run in it, whatever has become of its own record."""
    taken = fabric.present.load(Service, "shop").network.subnet
    overwrite(fabric, records.SERVICE, "shop", {**body(fabric, records.SERVICE, "shop"), "network": "levitating"})
    with pytest.raises(Permanent):
        fabric.present.find(Service, "shop")
    fabric.deploy(name="other", vip="203.0.113.11")
    assert fabric.present.load(Service, "other").network.subnet != taken


def test_a_template_named_only_by_what_is_set_aside_is_not_forgotten(fabric: Fabric) -> None:
    """Who cannot be read is built from a template that nobody else names: it stands when he can be read again."""
    alone = web_role(user_data="#cloud-config\n# of one alone\n")
    fabric.store.commit([records.put_template(alone)])
    digest = records.digest(alone)
    state = {**body(fabric, records.STATE, "web-1.shop"), "role": digest}
    for phase in ("levitating", state["phase"], "levitating"):
        overwrite(fabric, records.STATE, "web-1.shop", {**state, "phase": phase})
        for present in (fabric.present, Present(fabric.store)):
            assert digest not in [write.key for write in present.unused_templates()]
    overwrite(fabric, records.STATE, "web-1.shop", state)
    assert fabric.present.load(Instance, "web-1.shop").role.user_data == alone.user_data
    overwrite(
        fabric, records.STATE, "web-1.shop", {**state, "role": body(fabric, records.STATE, "web-0.shop")["role"]}
    )
    assert digest in [write.key for write in fabric.present.unused_templates()], "nobody names it any more"


def cost_of_a_reimage(instances: int) -> tuple[int, int]:
    """How many records one decodes, and how many commits it makes, among so many that serve."""
    fabric = Fabric()
    fleet.record(fabric.store, instances, fabric.world.now_s())
    fleet.people(fabric.world, fabric.present.all(Instance))
    present = Present(fabric.store)
    daemon = Reconciler(fabric.store, fabric.host, present=present, workers=1)
    present.all(Instance)
    decoded, revision = present.decoded, fabric.store.revision()
    operation = fabric.control.act(Verb.REIMAGE, "web-0.svc0")
    for _ in range(100):
        daemon.attend(("operation", operation.id))
        daemon.attend(("service", "svc0"))
        for name in present.instances_of("svc0"):
            daemon.attend(("instance", name))
        fabric.world.pass_time(0.8)
    assert present.load(Operation, operation.id).progress is Progress.DONE
    return present.decoded - decoded, fabric.store.revision() - revision


def test_a_reimage_decodes_as_many_records_however_many_instances_there_are() -> None:
    """What one costs by count: what is decoded and committed for it is the same among 100 and among 1,000."""
    assert cost_of_a_reimage(100) == cost_of_a_reimage(1000)


def test_what_a_later_version_has_written_survives_our_writes(fabric: Fabric) -> None:
    """Fields that are not known, deep inside as well, stay where they were in a record that is written again."""
    for kind, key, path in (
        (records.WISH, "web-0.shop", ("goal", "colour")),
        (records.STATE, "web-0.shop", ("mood",)),
        (records.SERVICE, "shop", ("network", "vlan")),
    ):
        whole = body(fabric, kind, key)
        place = whole
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = {"deep": [1, 2]}
        overwrite(fabric, kind, key, whole)
    fabric.control.act(Verb.REIMAGE, "web-0.shop")
    fabric.until(lambda: fabric.instance().generation == 2 and fabric.quiet())
    fabric.control.scale("shop", {"web": 2})
    assert body(fabric, records.WISH, "web-0.shop")["goal"]["colour"] == {"deep": [1, 2]}
    assert body(fabric, records.STATE, "web-0.shop")["mood"] == {"deep": [1, 2]}
    assert "mood" not in body(fabric, records.WISH, "web-0.shop")
    assert body(fabric, records.SERVICE, "shop")["network"]["vlan"] == {"deep": [1, 2]}


def test_what_an_earlier_version_has_written_is_read(fabric: Fabric) -> None:
    """Its record says what is waited for, and why it failed, in sentences: told as they are."""
    state = json.loads((GOLDEN_FILES / "records" / "state-with-sentences.json").read_text())
    role = body(fabric, records.STATE, "web-0.shop")["role"]
    overwrite(fabric, records.STATE, "web-0.shop", {**state, "role": role})
    instance = fabric.present.load(Instance, "web-0.shop")
    assert instance.waits_for == Cause(Kind.RECORDED, detail="the guest is booting")
    assert instance.failure == "overdue while setup: setup runs in the guest"
    assert instance.services_pending == ("app.service (activating)",)
    assert instance.services_failed == ("W3SVC: access was denied (5)",)
    overwrite(fabric, records.STATE, "web-0.shop", {**body(fabric, records.STATE, "web-0.shop"), "phase": "serving"})
    fabric.until(lambda: not fabric.instance().waiting)
    written = body(fabric, records.STATE, "web-0.shop")
    assert written["waits_for"] is None
    assert written["units"][1] == {"name": "app.service (activating)", "state": "pending"}
    assert not {"waiting", "failure", "services_pending", "services_failed"} & set(written)
    assert fabric.instance().failed_by == Cause(Kind.RECORDED, detail="overdue while setup: setup runs in the guest")


def test_a_cause_of_a_later_version_sets_nothing_aside(fabric: Fabric) -> None:
    """A kind that is not known is told in its own words; an earlier version's sentence beside it is the newer one."""
    state = body(fabric, records.STATE, "web-1.shop")
    later = {"kind": "moon-eclipsed", "blames": "host", "detail": "for 7 min", "orbit": {"deep": 1}}
    overwrite(fabric, records.STATE, "web-1.shop", {**state, "waits_for": later, "failed_by": "x"})
    instance = fabric.present.load(Instance, "web-1.shop")
    assert (instance.waiting, instance.failure) == ("moon eclipsed: for 7 min", "x")
    overwrite(fabric, records.STATE, "web-1.shop", {**state, "waits_for": later, "waiting": "for a friend"})
    assert fabric.present.load(Instance, "web-1.shop").waiting == "for a friend"
    assert not fabric.present.set_aside()
    overwrite(fabric, records.STATE, "web-1.shop", {**state, "waits_for": later})
    instance = fabric.present.load(Instance, "web-1.shop")
    fabric.present.commit([records.put_state(dataclasses.replace(instance, waits_for=Cause(Kind.BOOTING)))])
    assert body(fabric, records.STATE, "web-1.shop")["waits_for"] == {"kind": "booting"}


def test_a_unit_of_a_later_version_sets_nothing_aside(fabric: Fabric) -> None:
    """A state that is not known is told in its own word; what this version writes is read back as it was."""
    units = (
        Unit("app.service", UnitState.PENDING, "activating"),
        Unit("W3SVC", UnitState.FAILED, "access was denied"),
    )
    instance = dataclasses.replace(fabric.instance(), units=units)
    fabric.present.commit([records.put_state(instance)])
    assert fabric.instance().units == units
    state = body(fabric, records.STATE, "web-0.shop")
    state["units"] = [
        {"name": "a.service", "state": "dozing", "detail": "till 7", "dream": {"x": 1}},
        *state["units"],
    ]
    overwrite(fabric, records.STATE, "web-0.shop", state)
    assert fabric.instance().services_pending == ("a.service (dozing, till 7)", "app.service (activating)")
    assert not fabric.present.set_aside()


def test_a_template_of_a_later_version_keeps_its_name(fabric: Fabric) -> None:
    """Another version gives the same role another digest: who has it goes on naming it by that."""
    [digest] = [document.key for document in fabric.store.all(records.TEMPLATE)]
    later = {**body(fabric, records.TEMPLATE, digest), "gpu": "two"}
    fabric.store.commit([Write(records.TEMPLATE, "later", later, 0)])
    for kind in (records.WISH, records.STATE):
        whole = body(fabric, kind, "web-0.shop")
        (whole["goal"] if kind == records.WISH else whole)["role"] = "later"
        overwrite(fabric, kind, "web-0.shop", whole)
    fabric.control.act(Verb.RESTART, "web-0.shop")
    fabric.until(lambda: fabric.instance().boot > 2 and fabric.quiet())
    assert body(fabric, records.STATE, "web-0.shop")["role"] == "later"
    assert body(fabric, records.STATE, "web-1.shop")["role"] == digest


def test_large_user_data_is_stored_once() -> None:
    """An apply of 300 instances is one small commit after their templates; a save of a state is under 1 kB."""
    fabric = Fabric()
    roles = tuple(web_role(name=name, instances=80, user_data=LARGE, endpoints=()) for name in ("a", "b", "c"))
    fabric.deploy(*roles, vip="")
    sizes = {
        kind: [len(json.dumps(dict(one.body))) for one in fabric.store.all(kind)]
        for kind in (records.TEMPLATE, records.WISH, records.SERVICE)
    }
    assert len(sizes[records.TEMPLATE]) == 3
    assert len(sizes[records.WISH]) == 240
    assert max(sizes[records.WISH]) < 1000
    assert max(sizes[records.SERVICE]) < 2000
    instance = fabric.instances()[0]
    long = Cause(Kind.PROBE_FAILS, detail="w" * 200, also=Cause(Kind.PROTECTED))
    write = records.put_state(dataclasses.replace(instance, waits_for=long))
    assert write.body is not None
    assert len(json.dumps(dict(write.body))) < 1000
    fabric.control.remove("shop")
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.deploy(name="other")
    assert len(fabric.store.all(records.TEMPLATE)) == 1, "what nobody names any more is forgotten"


def test_records_of_the_first_version_are_brought_over(fabric: Fabric) -> None:
    """Each instance held its role twice then; nothing of it is lost, however often one begins."""
    old = FakeStore()
    for document in fabric.store.all(records.SERVICE):
        old.commit([Write(records.SERVICE, document.key, _first_service(fabric, document), 0)])
    for instance in fabric.instances():
        whole = records.to_json(instance)
        for key in ("wish_revision", "state_revision", "made_at_s"):
            del whole[key]
        old.commit([Write("instance", instance.name, whole, 0)])
    assert upgrade(old) == 1 + len(fabric.instances())
    assert upgrade(old) == 0
    brought = Present(old)
    assert not brought.set_aside()
    revisions = {"wish_revision": 0, "state_revision": 0, "made_at_s": 0.0}

    def bare(present: Present) -> list[Instance]:
        return [dataclasses.replace(one, **revisions) for one in present.all(Instance)]

    assert bare(brought) == bare(fabric.present)
    assert [one.spec for one in brought.all(Service)] == [one.spec for one in fabric.present.all(Service)]


def _first_service(fabric: Fabric, document: Document) -> dict[str, Any]:
    [service] = fabric.present.all(Service)
    return {**document.body, "spec": records.to_json(service.spec)}


def test_what_is_no_record_of_ours_is_no_trouble(fabric: Fabric) -> None:
    """The store keeps more than records; of the first version's instances one that cannot be read is told."""
    fabric.store.commit([Write("installation", "this", {"id": "x"}, 0)])
    assert fabric.present.set_aside() == []
    fabric.store.commit([Write(records.FIRST_INSTANCE, "odd-0.shop", {"phase": "serving"}, 0)])
    assert upgrade(fabric.store) == 0
    for present in (fabric.present, Present(fabric.store)):
        assert [aside.key for aside in present.set_aside()] == ["odd-0.shop"]


def test_a_template_that_is_wanted_again_stays(fabric: Fabric) -> None:
    """What nobody names any more is forgotten by the next apply, unless it is just this that it names."""
    fabric.control.remove("shop")
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.deploy(name="again")
    fabric.until(fabric.quiet)
    assert not fabric.present.set_aside()
    assert [service.name for service in Present(fabric.store).all(Service)] == ["again"]


class _Between:
    """A store that says at which lines the changes that it told of are taken in. Whoever reads there had looked just
    before they came.
    """

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._taker: FrameType | None = None  # who asked what has changed
        self._before = 0
        self._reading = False

    def revision(self) -> int:
        """See ports.Store."""
        return self._before if self._reading else self._store.revision()

    def changes(self, after: int) -> Sequence[Change] | None:
        """See ports.Store."""
        self._taker, self._before = sys._getframe(1), after
        return self._store.changes(after)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def reading(self, read: Callable[[], object]) -> Callable[[FrameType, str, object], Any]:
        """For sys.settrace: has `read` called at each line of what the taker calls."""

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            if self._reading or frame is self._taker or not frame.f_code.co_filename.endswith("present.py"):
                return trace
            callers = frame.f_back
            while callers is not None and callers is not self._taker:
                callers = callers.f_back
            if callers is not None and event == "line":
                self._reading = True
                read()
                self._reading = False
            return trace

        return trace


def test_what_is_replaced_is_there_all_the_while(fabric: Fabric) -> None:
    """Readers do not wait for who takes changes in: at no line of that is a record gone that is only another now."""
    fabric.control.act(Verb.RESTART, "web-0.shop")
    (operation,) = fabric.control.operations()
    store = _Between(fabric.store)
    present = Present(store)  # type: ignore[arg-type] # the other verbs are the fake's

    def there() -> tuple[object, ...]:
        return (
            present.find(Instance, "web-0.shop") is not None,
            present.find(Operation, operation.id) is not None,
            len(present.all(Instance)),
            len(present.instances_of("shop")),
            len(present.instances_called("web-0")),
            len(present.running_operations("shop")),
        )

    whole, seen = there(), []
    changed = dataclasses.replace(fabric.instance(), waits_for=recorded("for a friend"))
    paused = dataclasses.replace(operation, paused=True)
    Present(fabric.store).commit([records.put_state(changed), records.put(paused)])
    traced = sys.gettrace()
    sys.settrace(store.reading(lambda: seen.append(there())))
    try:
        after = present.find(Instance, "web-0.shop")
    finally:
        sys.settrace(traced)
    assert after is not None
    assert (after.waiting, whole) == ("for a friend", (True, True, 2, 2, 1, 1))
    assert (len(seen) > 20, set(seen)) == (True, {whole})
