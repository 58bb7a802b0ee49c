"""The staging slot and the swap, as requests and records: who is meant by a name, what changes, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control import records
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import Carrier, Endpoint, InstanceName, Mode, ServiceSpec, Slot, Upgrade, Verb, Walking
from orchestrator.rules import swap as swap_rules
from tests.world.fabric import Fabric, web_role

VIP, STAGING_VIP = "203.0.113.10", "203.0.113.11"
MORE = Endpoint(name="more", port=81, target=8080)


def spec(word: str = "a", *, staging_vip: str = STAGING_VIP, **changes: object) -> ServiceSpec:
    """A file whose VMs are of that kind."""
    role = web_role(user_data=f"#!/bin/sh\n# {word}\n", **changes)
    return ServiceSpec(name="shop", vip=VIP, staging_vip=staging_vip, roles=(role,))


@pytest.fixture
def fabric() -> Fabric:
    """A service in production, and a second deployment of it in staging; all serve."""
    fabric = Fabric()
    fabric.control.apply_spec(spec("a"))
    fabric.control.apply_spec(spec("b"), slot=Slot.STAGING)
    fabric.until(fabric.quiet)
    return fabric


def faced(fabric: Fabric) -> dict[str, str]:
    """Which pool each VIP leads to, as the balancer has it; those without a VIP lead nowhere."""
    return {one.vip: str(one.pool) for one in fabric.world.frontends if one.vip}


def settle(fabric: Fabric) -> None:
    """Until the front is as it is recorded."""
    fabric.until(lambda: tuple(fabric.world.frontends) == tuple(fabric.present.frontends()))


def test_staging_is_a_second_set_beside_production(fabric: Fabric) -> None:
    """With a network, instances, seats and a VIP of its own; both serve, and their pools have their own members."""
    assert [one.name for one in fabric.instances()] == [
        "web-0.shop",
        "web-0.shop--b",
        "web-1.shop",
        "web-1.shop--b",
    ]
    production, staging = fabric.control.services()
    assert (production.address, production.vip) == ("shop", VIP)
    assert (staging.address, staging.name, staging.vip) == ("shop@staging", "shop--b", STAGING_VIP)
    assert production.network.subnet != staging.network.subnet
    assert faced(fabric) == {VIP: "shop.web.http", STAGING_VIP: "shop--b.web.http"}
    assert fabric.world.seats_taken.keys() == {one.name for one in fabric.instances()}
    assert fabric.world.vips == {VIP, STAGING_VIP}


def test_a_swap_exchanges_the_vips_and_touches_no_instance(fabric: Fabric) -> None:
    """In one commit, and in one shape of the balancer; again, and all is as before."""
    before = {one.name: (one.generation, one.boot, one.state_revision) for one in fabric.instances()}
    shapes = fabric.trouble.verbs.count("shape")
    swapped = fabric.control.swap("shop")
    assert {one.revision for one in swapped} == {swapped[0].revision}
    assert [(one.name, one.slot, one.vip) for one in swapped] == [
        ("shop--b", Slot.PRODUCTION, VIP),
        ("shop", Slot.STAGING, STAGING_VIP),
    ]
    fabric.daemon.attend(("service", "shop"))
    assert fabric.trouble.verbs.count("shape") == shapes + 1
    assert faced(fabric) == {STAGING_VIP: "shop.web.http", VIP: "shop--b.web.http"}
    assert fabric.world.vips_taken_off == []
    assert {one.name: (one.generation, one.boot, one.state_revision) for one in fabric.instances()} == before
    fabric.control.swap("shop")
    settle(fabric)
    assert faced(fabric) == {VIP: "shop.web.http", STAGING_VIP: "shop--b.web.http"}


def test_without_a_staging_vip_its_pools_stand_and_lead_nowhere() -> None:
    """The instances are in them all the same, and a swap makes them nothing but reachable."""
    fabric = Fabric()
    fabric.control.apply_spec(spec("a", staging_vip=""))
    fabric.control.apply_spec(spec("b", staging_vip=""), slot=Slot.STAGING)
    fabric.until(fabric.quiet)
    assert faced(fabric) == {VIP: "shop.web.http"}
    assert fabric.world.vips == {VIP}
    assert InstanceName("web-0.shop--b") in fabric.world.seats_taken
    fabric.control.swap("shop")
    settle(fabric)
    assert faced(fabric) == {VIP: "shop--b.web.http"}
    assert (fabric.world.vips, fabric.world.vips_taken_off) == ({VIP}, [])


def test_a_service_s_name_is_what_is_in_production(fabric: Fabric) -> None:
    """Before a swap and after it; instances keep their names, and SERVICE@SLOT is what is there now."""
    control = fabric.control
    for production, staging in (("shop", "shop--b"), ("shop--b", "shop")):
        assert control.service("shop").name == production
        assert control.service("shop@production").name == production
        assert control.service("shop@staging").name == staging
        assert {one.service for one in control.instances("shop")} == {production}
        assert {one.service for one in control.instances("web.shop")} == {production}
        assert {one.service for one in control.chosen("web.shop@staging")} == {staging}
        assert control.instance("web-0.shop@staging").name == f"web-0.{staging}"
        assert control.instance("web-0.shop").name == "web-0.shop"
        assert [one.name for one in control.instances("web-0.shop")] == ["web-0.shop"]
        assert control.service("shop--b").name == "shop--b"
        assert control.revisions("shop@staging")[-1].service == staging
        assert {one.subject.rpartition(".")[2] for one in control.events("shop")} == {production}
        control.swap("shop")
    with pytest.raises(Conflict, match="is the name of 2 instances"):
        control.instance("web-0")
    with pytest.raises(InvalidInput, match="no slot 'stage'") as refused:
        control.service("shop@stage")
    assert refused.value.hint == "slots are: production, staging"
    with pytest.raises(NotFound, match="no service 'blog'"):
        control.service("blog@staging")


def test_an_instance_that_is_not_there_is_nobody_else(fabric: Fabric) -> None:
    """A name that belongs to the one deployment never means an instance of the other."""
    fabric.control.swap("shop")
    fabric.control.scale("shop@staging", {"web": 1})
    fabric.until(lambda: fabric.quiet() and len(fabric.instances()) == 3)
    with pytest.raises(NotFound, match=r"no instance 'web-1\.shop'"):
        fabric.control.instance("web-1.shop")
    with pytest.raises(NotFound):
        fabric.control.act(Verb.REIMAGE, "web-1.shop")


def test_an_apply_is_of_what_is_in_the_slot(fabric: Fabric) -> None:
    """Of production unless it says otherwise, whichever deployment that is; each has revisions and rollouts."""
    fabric.control.swap("shop")
    applied = fabric.control.apply_spec(spec("c"))
    assert applied.service is not None
    assert applied.service.name == "shop--b"
    assert applied.operation is not None
    assert {name for name, _ in applied.operation.targets} == {"web-0.shop--b", "web-1.shop--b"}
    fabric.until(fabric.quiet)
    assert {one.name: one.role.user_data[-2] for one in fabric.instances()} == {
        "web-0.shop": "a",
        "web-1.shop": "a",
        "web-0.shop--b": "c",
        "web-1.shop--b": "c",
    }
    assert [len(fabric.control.revisions(name)) for name in ("shop", "shop@staging")] == [2, 1]
    fabric.control.undo("shop")
    fabric.until(fabric.quiet)
    assert {one.role.user_data[-2] for one in fabric.control.instances("shop")} == {"b"}
    assert "service: shop\n" in fabric.control.file_of("shop")


def test_a_rollout_of_staging_that_breaks_goes_back_there(fabric: Fabric) -> None:
    """What it says to do names what is in staging, and so does its way back."""
    fabric.control.swap("shop")
    broken = replace(spec("c"), upgrade=Upgrade(canary=1))
    fabric.control.apply_spec(broken, slot=Slot.STAGING)
    fabric.until(lambda: any(one.paused for one in fabric.control.rollouts("shop@staging")))
    rollout = fabric.control.rollouts("shop@staging")[-1]
    assert rollout.service == "shop"
    assert rollout.message.endswith("until: vmrole rollout resume shop@staging")
    fabric.control.resume("shop@staging")
    fabric.until(fabric.quiet)
    assert fabric.control.rollouts("shop") == []


def empty(fabric: Fabric) -> None:
    fabric.control.remove("shop@staging")
    fabric.until(lambda: len(fabric.control.services()) == 1)


def leaving(fabric: Fabric) -> None:
    fabric.control.remove("shop@staging")


def rolling(fabric: Fabric) -> None:
    fabric.control.apply_spec(spec("c"), slot=Slot.STAGING)


def nobody_serves(fabric: Fabric) -> None:
    fabric.control.act(Verb.STOP, "shop@staging")
    fabric.until(fabric.quiet)


def fewer_endpoints(fabric: Fabric) -> None:
    fabric.control.apply_spec(
        spec("a", endpoints=(*web_role().endpoints, MORE, replace(MORE, name="d", mode=Mode.UDP)))
    )
    fabric.until(fabric.quiet)


def another_balancer(fabric: Fabric) -> None:
    [end] = web_role().endpoints
    kernels = replace(spec("b", endpoints=(replace(end, balancer=Carrier.NFTABLES),)))
    fabric.control.apply_spec(kernels, slot=Slot.STAGING)
    fabric.until(fabric.quiet)


@pytest.mark.parametrize(
    ("before", "why_not", "forced"),
    [
        (empty, r"nothing in staging: a swap would leave nobody in production", True),
        (leaving, r"shop@staging is being deleted", False),
        (rolling, r"a rollout of shop@staging is under way", True),
        (nobody_serves, r"no instance of role web of shop@staging serves", True),
        (fewer_endpoints, r"shop@staging has no endpoint at 81/tcp, 81/udp, where clients of production are", True),
        (another_balancer, r"another balancer carries 80/tcp of shop@staging: what is open would be cut", True),
    ],
)
def test_what_clients_would_notice_is_refused(fabric: Fabric, before: object, why_not: str, forced: bool) -> None:
    """With what to do about it; by force it is done, but for what is going anyway."""
    assert callable(before)
    before(fabric)
    with pytest.raises(Conflict, match=why_not) as refused:
        fabric.control.swap("shop")
    assert refused.value.hint
    production = fabric.control.service("shop").name
    if not forced:
        with pytest.raises(Conflict, match=why_not):
            fabric.control.swap("shop", force=True)
        return
    assert "--force" in refused.value.hint
    fabric.control.swap("shop", force=True)
    assert fabric.control.service("shop@staging").name == production


def test_by_force_production_may_be_left_empty(fabric: Fabric) -> None:
    """Then its VIP is nobody's; what is in staging alone may come back without force."""
    empty(fabric)
    fabric.control.swap("shop", force=True)
    settle(fabric)
    assert faced(fabric) == {STAGING_VIP: "shop.web.http"}
    with pytest.raises(NotFound, match="nothing in production") as refused:
        fabric.control.service("shop")
    assert refused.value.hint == "name the other: shop@staging"
    fabric.control.swap("shop")
    settle(fabric)
    assert faced(fabric) == {VIP: "shop.web.http"}


def test_a_slot_is_deleted_alone_and_a_service_whole(fabric: Fabric) -> None:
    """What is left goes on; the freed name is that of the next in staging."""
    fabric.control.swap("shop")
    fabric.control.remove("shop@staging")
    fabric.until(lambda: len(fabric.control.services()) == 1)
    assert faced(fabric) == {VIP: "shop--b.web.http"}
    assert {one.name for one in fabric.instances()} == {"web-0.shop--b", "web-1.shop--b"}
    fabric.control.apply_spec(spec("d"), slot=Slot.STAGING)
    assert fabric.control.service("shop@staging").name == "shop"
    fabric.until(fabric.quiet)
    fabric.control.remove("shop")
    fabric.until(lambda: not fabric.control.services())
    fabric.world.nothing_is_left()


@pytest.mark.parametrize(
    ("changed", "key", "told"),
    [
        ({"vip": "203.0.113.12"}, "vip", r"203\.0\.113\.12, but 203\.0\.113\.10 in the file of shop"),
        ({"staging_vip": ""}, "stagingVip", r"none, but 203\.0\.113\.11 in the file of shop"),
    ],
)
def test_both_files_have_the_same_vips(changed: dict[str, str], key: str, told: str) -> None:
    """For a swap exchanges them; with the key and what to do."""
    fabric = Fabric()
    fabric.control.apply_spec(spec("a"))
    with pytest.raises(InvalidInput, match=told) as refused:
        fabric.control.apply_spec(replace(spec("b"), **changed), slot=Slot.STAGING)
    [problem] = refused.value.problems
    assert problem.key == key
    assert "--slot production" in problem.hint


def test_a_vip_is_one_service_s_in_either_slot(fabric: Fabric) -> None:
    """Also while nothing is in that slot."""
    empty(fabric)
    for key, vips in (("vip", {"vip": STAGING_VIP}), ("stagingVip", {"vip": "203.0.113.12", "staging_vip": VIP})):
        with pytest.raises(Conflict, match=f"{key}: .* is already the VIP of service shop"):
            fabric.control.apply_spec(ServiceSpec(name="blog", roles=(web_role(),), **vips))


def test_both_count_towards_what_the_host_promises(fabric: Fabric) -> None:
    """A staging that the host has no memory for is refused."""
    empty(fabric)
    large = web_role(size=replace(web_role().size, memory_mib=32_000))
    with pytest.raises(InvalidInput, match="memory"):
        fabric.control.apply_spec(replace(spec("b"), roles=(large,)), slot=Slot.STAGING)


def test_records_of_before_are_in_production(fabric: Fabric) -> None:
    """A record that knows of no slots, and a file's digest that knows of no staging VIP, are as they were."""
    service = fabric.control.service("shop")
    body = dict(records.put(service).body or {})
    del body["slot"]
    document = fabric.store.get(records.SERVICE, "shop")
    assert document is not None
    assert "staging_vip" not in records.put(replace(service, spec=replace(service.spec, staging_vip=""))).body["spec"]  # type: ignore[index]
    templates = {records.digest(role): role for role in service.spec.roles}
    assert records.decode(replace(document, body=body), templates) == service


def test_members_are_in_pools_of_their_own_deployment(fabric: Fabric) -> None:
    """So that a swap moves none."""
    for one in fabric.instances():
        seat = fabric.world.seats_taken[one.name]
        assert [str(pool) for pool in seat.pools] == [f"{one.service}.web.http"]


def test_a_rollout_of_what_was_swapped_goes_on_by_the_service_s_name(fabric: Fabric) -> None:
    """The next domain is that of the deployment in production, whatever its own name is."""
    fabric.control.swap("shop")
    settle(fabric)
    manual = replace(spec("c"), upgrade=Upgrade(domains=2, walking=Walking.MANUAL))
    fabric.control.apply_spec(manual)
    for _ in range(2):
        fabric.until(lambda: bool(fabric.control.rollouts("shop")[-1].walk.unreleased))
        let_go = fabric.control.next_domain("shop")
        assert let_go.service == "shop--b"
    fabric.until(fabric.quiet)
    assert {one.role.user_data[-2] for one in fabric.instances() if one.service == "shop--b"} == {"c"}
    assert {one.role.user_data[-2] for one in fabric.instances() if one.service == "shop"} == {"a"}


def test_ports_that_follow_one_another_are_told_as_one() -> None:
    """A role with doors has a hundred."""
    ports = {(port, "tcp") for port in range(10022, 10122)} | {(80, "tcp"), (53, "udp")}
    assert swap_rules._named(ports) == "53/udp, 80/tcp, 10022-10121/tcp"
