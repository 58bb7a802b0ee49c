"""What users may ask for, and what they get when it cannot be."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from vmrole_unattend.windows.answers import Answers

from orchestrator.api.views import view_instance
from orchestrator.cli import listing
from orchestrator.control import records
from orchestrator.control.applied import TRIES
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.store.memory import MemoryStore
from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision
from orchestrator.model import (
    Event,
    Image,
    Incarnation,
    Instance,
    InstanceName,
    Os,
    Phase,
    Progress,
    Service,
    ServiceSpec,
    Size,
    Verb,
)
from orchestrator.model.cause import recorded
from orchestrator.ports import Check, Write
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST

VIP = "203.0.113.10"


@pytest.fixture
def fabric() -> Fabric:
    """One service with two instances that serve."""
    fabric = Fabric()
    fabric.deploy()
    fabric.until(fabric.quiet)
    return fabric


def spec(name: str = "shop", vip: str = VIP, **changes: object) -> ServiceSpec:
    """A service with one role."""
    return ServiceSpec(name=name, vip=vip, roles=(web_role(**changes),))


def test_apply_is_idempotent(fabric: Fabric) -> None:
    """The same file again changes nothing, not even a revision."""
    before = fabric.store.revision()
    applied = fabric.control.apply_spec(spec())
    assert (applied.changes, applied.operation, fabric.store.revision()) == ((), None, before)


def test_a_dry_run_records_nothing(fabric: Fabric) -> None:
    """It says what would change, with its effect."""
    before = fabric.store.revision()
    applied = fabric.control.apply_spec(spec(instances=3, size=Size(memory_mib=256)), dry_run=True)
    assert fabric.store.revision() == before
    assert {(one.key, one.effect) for one in applied.changes} == {
        ("roles.web.instances", "1 instance is deployed"),
        ("roles.web.size.memory", "rolling reimage, one instance at a time"),
    }


def test_a_change_without_effect_on_vms_restarts_nobody(fabric: Fabric) -> None:
    """Endpoints, deadlines and drain time follow at once."""
    applied = fabric.control.apply_spec(spec(drain_s=9.0, endpoints=()))
    assert applied.operation is None
    fabric.until(fabric.quiet)
    assert all(one.generation == 1 and one.goal.role.drain_s == 9.0 for one in fabric.instances())


def test_a_new_template_is_rolled_out(fabric: Fabric) -> None:
    """What a VM is built from changes one instance at a time, each in a new generation."""
    applied = fabric.control.apply_spec(spec(user_data="#!/bin/sh\n"))
    assert applied.operation is not None
    fabric.until(fabric.quiet)
    assert all(one.generation == 2 and one.role.user_data == "#!/bin/sh\n" for one in fabric.instances())
    assert fabric.control.operation(applied.operation.id).progress is Progress.DONE


def test_of_two_clients_one_gets_a_conflict(fabric: Fabric) -> None:
    """Both read the service, both change it: the second is told to read again."""
    revision = fabric.control.service("shop").revision
    fabric.control.apply_spec(spec(drain_s=1.0), expected=revision)
    with pytest.raises(StaleRevision):
        fabric.control.apply_spec(spec(drain_s=3.0), expected=revision)
    with pytest.raises(StaleRevision):
        fabric.control.scale("shop", {"web": 5}, expected=revision)
    with pytest.raises(StaleRevision):
        fabric.control.apply_spec(spec("new", "203.0.113.11"), expected=7)


class Overtaken(MemoryStore):
    """A store in which somebody writes just before each of the next `times` commits: every instance's state, as the
    reconciler does, or the `service`.
    """

    times = 0
    service = False

    def commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event] = (),
        *,
        checks: Sequence[Check] = (),
        commit_id: str = "",
    ) -> int:
        """See ports.Store."""
        if self.times > 0:
            self.times -= 1
            present = Present(self)
            for one in () if self.service else present.all(Instance):
                super().commit(
                    [records.put_state(dataclasses.replace(one, waits_for=recorded(f"moment {self.times}")))]
                )
            for service in present.all(Service) if self.service else ():
                super().commit([records.put(service)])
        return super().commit(writes, events, checks=checks, commit_id=commit_id)


@pytest.fixture
def overtaken() -> tuple[Control, Overtaken]:
    """The control of a service with two instances that serve, and its store."""
    store = Overtaken()
    fabric = Fabric(store=store)
    fabric.deploy()
    fabric.until(fabric.quiet)
    return fabric.control, store


def test_a_request_is_not_refused_for_what_the_reconciler_writes(overtaken: tuple[Control, Overtaken]) -> None:
    """Somebody who asks while instances move gets what was asked for, whoever wrote their records meanwhile."""
    control, store = overtaken
    store.times = 3
    revision = control.service("shop").revision
    assert control.apply_spec(spec(user_data="#!/bin/sh\n"), expected=revision).operation is not None
    store.times = 3
    assert control.scale("shop", {"web": 1}).spec.roles[0].instances == 1
    store.times = 1
    assert control.remove("shop").removing
    assert store.times == 0
    assert not any(one.goal.serve for one in control.instances("shop"))
    assert {one.waiting for one in control.instances("shop")} == {"moment 0"}, "what it wrote is not lost, either"


def test_a_request_that_is_overtaken_for_ever_is_refused(overtaken: tuple[Control, Overtaken]) -> None:
    """The tries have an end, and nothing is recorded then."""
    control, store = overtaken
    store.times, store.service = 10 * TRIES, True
    with pytest.raises(StaleRevision, match="changed meanwhile"):
        control.remove("shop")
    assert store.times == 9 * TRIES
    assert not control.service("shop").removing


def test_a_vip_belongs_to_one_service(fabric: Fabric) -> None:
    """A taken VIP is a conflict that names its owner; one in the private pool is a fault."""
    with pytest.raises(Conflict, match="VIP of service shop"):
        fabric.control.apply_spec(spec("mall"))
    with pytest.raises(InvalidInput, match="from which private networks are cut"):
        fabric.control.apply_spec(spec("mall", "10.90.7.7"))


def test_of_two_services_at_once_one_gets_the_vip() -> None:
    """What is given out over all services is given once: addresses, networks, memory."""

    def taken(fabric: Fabric, name: str, both: threading.Barrier) -> bool:
        both.wait(20)
        try:
            fabric.control.apply_spec(spec(name))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            fabric, both = Fabric(), threading.Barrier(2)
            assert sorted(pool.map(lambda name: taken(fabric, name, both), ("shop", "shed"))) == [False, True]  # noqa: B023


def test_memory_is_not_given_out_twice(fabric: Fabric) -> None:
    """A service that needs more than is left is refused, with the figures."""
    with pytest.raises(InvalidInput, match="the host gives 64000 MiB") as caught:
        fabric.control.apply_spec(spec("mall", "203.0.113.11", size=Size(memory_mib=40_000)))
    assert caught.value.problems[0].key == "roles.web.size.memory"
    assert [one.name for one in fabric.control.services()] == ["shop"]


def test_an_image_that_goes_meanwhile_is_noticed(fabric: Fabric) -> None:
    """The commit of a service touches its images: one that is removed at the same time makes it fail."""
    image = fabric.present.load(Image, DIGEST)
    fabric.store.commit([records.drop(image)])
    with pytest.raises(Conflict, match="removed meanwhile"):
        fabric.control.apply_spec(spec("mall", "203.0.113.11"))


def test_what_does_not_exist_is_not_found(fabric: Fabric) -> None:
    """Every verb says so, and what to run."""
    for ask in (
        lambda: fabric.control.act(Verb.REIMAGE, "nobody"),
        lambda: fabric.control.why("web-9"),
        lambda: fabric.control.remove("mall"),
        lambda: fabric.control.scale("shop", {"db": 1}),
        lambda: fabric.control.operation("x"),
    ):
        with pytest.raises(NotFound) as caught:
            ask()
        assert "vmrole" in caught.value.hint


def test_a_short_name_must_be_unique(fabric: Fabric) -> None:
    """web-0 will do as long as one service has it."""
    assert fabric.control.instance("web-0").name == "web-0.shop"
    fabric.control.apply_spec(spec("mall", "203.0.113.11"))
    with pytest.raises(Conflict, match="the name of 2 instances"):
        fabric.control.instance("web-0")


def test_repeated_requests_are_one(fabric: Fabric) -> None:
    """Asking twice before it has happened is asking once: wishes are levels."""
    for _ in range(3):
        fabric.control.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2
    assert all(one.progress is Progress.DONE for one in fabric.control.operations())


def test_scaling_keeps_its_bounds(fabric: Fabric) -> None:
    """0 is allowed, a negative number or a thousand are not."""
    for count in (-1, 1000):
        with pytest.raises(InvalidInput):
            fabric.control.scale("shop", {"web": count})
    fabric.control.scale("shop", {"web": 0})
    fabric.until(lambda: not fabric.instances())
    assert fabric.control.service("shop").spec.roles[0].instances == 0


def test_a_service_that_goes_cannot_be_changed(fabric: Fabric) -> None:
    """Deleting again is fine; applying waits for the end."""
    fabric.control.remove("shop")
    fabric.control.remove("shop")
    with pytest.raises(Conflict, match="is being deleted"):
        fabric.control.apply_spec(spec(instances=5))
    with pytest.raises(Conflict):
        fabric.control.act(Verb.RESTART, "web-0")


def test_a_removed_role_goes_with_its_instances(fabric: Fabric) -> None:
    """Another role under another name takes its place."""
    other = dataclasses.replace(web_role(instances=1), name="api")
    fabric.control.apply_spec(ServiceSpec(name="shop", vip=VIP, roles=(other,)))
    fabric.until(lambda: fabric.quiet() and [one.name for one in fabric.instances()] == ["api-0.shop"])


def test_why_speaks_in_sentences() -> None:
    """Where it is, what it waits for, since when, until when, what then, and what came before."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    fabric.round()
    said = "\n".join(fabric.control.why("web-0"))
    for words in (
        "web-0.shop is setup (generation 1, boot 0) since",
        "It waits: setup runs in the guest",
        "It is the guest's turn.",
        "This may last until",
        "then: it is reimaged",
        "answered -> setup",
    ):
        assert words in said
    fabric.until(fabric.quiet)
    assert "It is in rotation and waits for nothing." in fabric.control.why("web-0")
    assert not any("turn" in line for line in fabric.control.why("web-0"))


def test_a_restart_during_setup_is_fulfilled_by_its_restart() -> None:
    """The wish is one more boot than was seen; a setup is not disturbed for it."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    operation = fabric.control.act(Verb.RESTART, "web-0")
    assert operation.targets == (("web-0.shop", Incarnation(1, 2)),)
    fabric.until(fabric.quiet)
    assert fabric.instance().at == Incarnation(1, 2)


def test_a_windows_role_is_not_scaled_to_names_that_windows_refuses(fabric: Fabric) -> None:
    """A number more may be a byte too many; it is refused when it is asked for, not when a disc is made at night."""
    role = web_role(name="fourteenchars", instances=1, os=Os.WINDOWS, unattend=Answers())
    fabric.deploy(role)
    fabric.control.scale("shop", {"fourteenchars": 10})
    with pytest.raises(InvalidInput, match="16 bytes"):
        fabric.control.scale("shop", {"fourteenchars": 11})
    assert fabric.control.service("shop").spec.roles[0].instances == 10


def test_nobody_acts_on_nothing(fabric: Fabric) -> None:
    """An empty name, as a shell variable that was never set, is not everything."""
    for verb in Verb:
        with pytest.raises(InvalidInput, match="no instance, role or service is named"):
            fabric.control.act(verb, "")
    assert fabric.control.operations() == []


def test_a_service_s_name_is_not_an_instance_s(fabric: Fabric) -> None:
    """A service without instances that is called as an instance of another one stands for itself alone."""
    fabric.control.apply_spec(spec("web-0", "203.0.113.11", instances=0))
    for subject in ("web-0", "web.web-0"):
        with pytest.raises(Conflict, match="has no instances"):
            fabric.control.act(Verb.REBUILD, subject)
    assert fabric.control.act(Verb.REBUILD, "web-0.shop").targets == (("web-0.shop", Incarnation(2, 1)),)
    with pytest.raises(NotFound):
        fabric.control.act(Verb.RESTART, "web-7")


def test_a_role_is_not_called_like_another_s_instance(fabric: Fabric) -> None:
    """`web-0.shop` would mean both of them."""
    roles = (web_role(), dataclasses.replace(web_role(), name="web-0", endpoints=()))
    with pytest.raises(InvalidInput) as caught:
        fabric.control.apply_spec(ServiceSpec(name="shop", vip=VIP, roles=roles))
    assert [one.key for one in caught.value.problems] == ["roles.web-0"]


def test_scaling_is_whole(fabric: Fabric) -> None:
    """Of several roles all are scaled, or none."""
    with pytest.raises(NotFound, match="has no role 'nosuch'"):
        fabric.control.scale("shop", {"web": 1, "nosuch": 2})
    assert fabric.control.service("shop").spec.roles[0].instances == 2


def wire_of(fabric: Fabric, instance: Instance) -> dict[str, Any]:
    """The instance as a client reads it."""
    found: dict[str, Any] = dataclasses.asdict(view_instance(instance, fabric.control.service_of(instance)))
    return found


def halted() -> Fabric:
    """Three instances, of which the first has failed in a rollout to more memory."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=3))
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.add(InstanceName("web-0.shop"))
    fabric.control.apply_spec(spec(instances=3, size=Size(memory_mib=256)))
    fabric.until(lambda: all(one.progress is Progress.FAILED for one in fabric.control.operations()), rounds=9000)
    assert fabric.instance().phase is Phase.FAILED
    return fabric


def sizes(fabric: Fabric) -> list[int]:
    """What each VM is built with."""
    return [one.role.size.memory_mib for one in fabric.control.instances("shop")]


def test_what_a_halted_rollout_left_is_told_and_taken_up() -> None:
    """The same file again goes on where it was halted, and says so before; the failed one goes first."""
    fabric = halted()
    wanted = spec(instances=3, size=Size(memory_mib=256))
    before = sizes(fabric)
    assert any("not yet what the service file says" in line for line in fabric.control.why("web-2"))
    assert [wire_of(fabric, one)["stale"] for one in fabric.control.instances("shop")] == [False, True, True]
    listed = listing.lines("instances", [wire_of(fabric, one) for one in fabric.control.instances("shop")], "wide")
    assert ["a rollout" in line for line in listed[1:]] == [False, True, True]
    told = fabric.control.apply_spec(wanted, dry_run=True)
    (change,) = told.changes
    assert (change.key, change.before) == ("roles.web", "2 instances are not as the file says")
    assert change.effect == "rolling reimage, one instance at a time"
    applied = fabric.control.apply_spec(wanted)
    assert applied.operation is not None
    fabric.until(lambda: fabric.control.operations()[-1].progress is Progress.FAILED, rounds=9000)
    assert sizes(fabric) == before, "the first fails again, and the others keep what they have"
    fabric.world.faults.services_never_start.clear()
    fabric.control.apply_spec(wanted)
    assert fabric.control.apply_spec(wanted).changes == (), "what runs is not begun twice"
    fabric.until(fabric.quiet)
    assert sizes(fabric) == [256, 256, 256]
    assert fabric.control.apply_spec(wanted).changes == ()


def test_a_rollout_that_is_superseded_forgets_no_role() -> None:
    """What the first rollout had yet to reach in another role is the second one's."""
    web, api = web_role(), dataclasses.replace(web_role(), name="api", endpoints=())
    fabric = Fabric()

    def apply(web_mib: int, api_mib: int) -> None:
        roles = tuple(
            dataclasses.replace(role, size=Size(memory_mib=mib)) for role, mib in ((web, web_mib), (api, api_mib))
        )
        fabric.control.apply_spec(ServiceSpec(name="shop", vip=VIP, roles=roles))

    apply(128, 128)
    fabric.until(fabric.quiet)
    apply(192, 192)
    apply(256, 192)
    fabric.until(fabric.quiet)
    assert {one.name: one.role.size.memory_mib for one in fabric.instances()} == {
        "api-0.shop": 192, "api-1.shop": 192, "web-0.shop": 256, "web-1.shop": 256
    }  # fmt: skip


def test_scaling_takes_up_no_halted_rollout() -> None:
    """Who asks for one more instance has not asked for a reimage of the others."""
    fabric = halted()
    fabric.control.scale("shop", {"web": 4})
    assert all(one.progress is Progress.FAILED for one in fabric.control.operations())
