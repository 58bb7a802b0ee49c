"""However much is asked for, each commit is small: one may be cut off anywhere, and every store takes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest

from orchestrator.control import deployment, loop, records, tending
from orchestrator.control.leavings import Leavings
from orchestrator.control.unfolding import BATCH
from orchestrator.drivers.store.memory import MemoryStore
from orchestrator.errors import InvalidInput
from orchestrator.model import (
    Event,
    Image,
    Operation,
    Phase,
    Progress,
    Role,
    Service,
    Verb,
)
from orchestrator.ports import COMMIT_BYTES_MAX, COMMIT_PARTS_MAX, Check, Write
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST

LARGE = "#!/bin/sh\n# " + "x" * 65_000 + "\n"
COUNTS = {"web": 100, "api": 100, "db": 40}  # as many as a service has room for


class Weighed(MemoryStore):
    """Remembers how large each commit was: kinds written, parts, bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[list[str], int, int]] = []

    def commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event] = (),
        *,
        checks: Sequence[Check] = (),
        commit_id: str = "",
    ) -> int:
        """See ports.Store."""
        size = sum(len(json.dumps(dict(write.body or {}))) for write in writes)
        self.commits.append(([write.kind for write in writes], len(writes) + len(events) + len(checks), size))
        return super().commit(writes, events, checks=checks, commit_id=commit_id)


def roles(**changes: object) -> list[Role]:
    """Three roles, as many instances as there is room for, much user-data."""
    return [web_role(name=name, instances=count, user_data=LARGE, **changes) for name, count in COUNTS.items()]


@pytest.fixture
def large() -> tuple[Fabric, Weighed]:
    """A service with 240 instances, as far as requests make it."""
    store = Weighed()
    fabric = Fabric(store=store)
    store.commits.clear()
    fabric.deploy(*roles())
    return fabric, store


def test_an_apply_of_240_instances_is_one_small_commit(large: tuple[Fabric, Weighed]) -> None:
    """Service, revision, image, event; templates before it, once; wishes after it in batches of under 100 KiB."""
    fabric, store = large
    (applied,) = [commit for commit in store.commits if "service" in commit[0]]
    assert applied[0] == ["service", "revision", "image"]
    assert applied[1] == 4
    assert applied[2] < 4096
    assert [commit[0] for commit in store.commits if "template" in commit[0]] == [["template"]] * 3
    wishes = [commit for commit in store.commits if "wish" in commit[0]]
    assert [len(commit[0]) for commit in wishes] == [BATCH] * 4 + [40]
    assert max(commit[2] for commit in wishes) < 100 * 1024
    assert len(fabric.instances()) == 240


def test_all_of_a_large_service_may_go_at_once(large: tuple[Fabric, Weighed]) -> None:
    """A reimage of a hundred together goes in batches, at once, and every one goes; so does a removal."""
    fabric, store = large
    for name in ("web", "api"):  # As if all had been deployed.
        for one in [one for one in fabric.instances() if one.role_name == name]:
            served = dataclasses.replace(one, phase=Phase.SERVING, generation=1, boot=2, set_up=True)
            fabric.present.commit([records.put_state(served)])
    store.commits.clear()
    operation = fabric.control.act(Verb.REIMAGE, "web.shop", together=100)
    looks = [loop.conduct(fabric.present, fabric.host, operation.id)[1] for _ in range(3)]
    assert looks[0] == 0.0
    assert looks[2] > 0.0
    going = [one for one in fabric.instances() if one.goal.wanted.generation == 2]
    assert {one.role_name for one in going} == {"web"}
    assert len(going) == 100
    fabric.remove()
    assert not any(one.goal.serve for one in fabric.instances())
    assert max(parts for _, parts, _ in store.commits) <= COMMIT_PARTS_MAX
    assert max(size for _, _, size in store.commits) < 100 * 1024


def test_much_to_tell_of_a_network_is_told_in_parts(large: tuple[Fabric, Weighed]) -> None:
    """Somebody took the ports of all 240 instances: all of it is in the ledger."""
    fabric, _ = large
    names = [one.name for one in fabric.instances()]
    fabric.world.unplugged.update(names)
    tending.tend(fabric.present, fabric.host, "shop", Leavings())
    told = {event.subject for event in fabric.store.events(limit=1000) if "put back" in event.message}
    assert told == set(names)


def test_many_old_operations_are_forgotten_by_and_by() -> None:
    """Of a store that has kept too many, each request forgets some."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    for number in range(200):
        over = Operation(
            id=f"old-{number}",
            verb=Verb.RESTART,
            subject="shop",
            service="shop",
            targets=(),
            progress=Progress.DONE,
            created_at_s=float(number),
        )
        fabric.store.commit([records.put(over)])
    for _ in range(60):
        fabric.control.act(Verb.RESTART, "web-0")
    left = [one for one in fabric.control.operations() if one.id.startswith("old-")]
    assert len(left) <= 50


@pytest.mark.parametrize("text", ["x" * (COMMIT_BYTES_MAX - 512), "é" * (COMMIT_BYTES_MAX // 2), "\n" * 600_000])
def test_texts_that_no_record_can_hold_are_refused_with_their_role(text: str) -> None:
    """However they came to be so large: the request is at fault, and says where."""
    fabric = Fabric()
    with pytest.raises(InvalidInput, match="KiB; a role may have") as caught:
        fabric.deploy(web_role(user_data=text))
    assert caught.value.problems[0].key == "roles.web.answers"
    assert not fabric.control.services()
    fabric.deploy(web_role(user_data="x" * 500_000, vendor_data="y" * 500_000))


def test_more_images_than_a_commit_can_hold_fast_are_refused() -> None:
    """And as many as it can are taken, with as many roles of each as one likes."""
    fabric = Fabric()
    known = dataclasses.replace(fabric.present.load(Image, DIGEST), revision=0)
    for number in range(deployment.IMAGES_MAX + 1):
        image = dataclasses.replace(known, sha256=f"{number:064x}", names=(f"i{number}",))
        fabric.store.commit([records.put(image)])

    def spec(images: int) -> tuple[Role, ...]:
        return tuple(
            web_role(name=f"r{number}", instances=0, image_sha256=f"{number % images:064x}", endpoints=())
            for number in range(100)
        )

    with pytest.raises(InvalidInput, match="41 images; a service may have 40") as caught:
        fabric.deploy(*spec(deployment.IMAGES_MAX + 1))
    assert caught.value.problems[0].key == "roles.r40.image"
    fabric.deploy(*spec(deployment.IMAGES_MAX))
    assert len(fabric.present.load(Service, "shop").spec.roles) == 100
