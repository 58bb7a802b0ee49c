"""Who belongs into a pool, by phase, VM and seat."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.model import (
    CommandProbe,
    Endpoint,
    HttpProbe,
    Instance,
    InstanceEndpoint,
    Mode,
    Phase,
    PoolName,
    Ports,
    Road,
    Seat,
    Standing,
    TcpProbe,
)
from orchestrator.rules import pool
from orchestrator.rules.pool import Wanted
from tests.unit.control.fleet import deployed
from tests.world.instances import checkpoint

NOW_S = 1000.0
UP = Seat(address="10.90.0.2", standing=Standing.UP, connections=1, pools=(PoolName("shop.web.http"),))
DRAINING = dataclasses.replace(UP, standing=Standing.DRAINING)
IDLE = dataclasses.replace(DRAINING, connections=0)


@pytest.fixture(scope="module")
def one() -> Instance:
    """An instance whose role has an endpoint and drains for two seconds."""
    return deployed().instance()


def at(instance: Instance, phase: Phase, for_s: float = 0.0) -> Instance:
    """The same, in another phase for so long."""
    return dataclasses.replace(instance, phase=phase, phase_since_s=NOW_S - for_s)


@pytest.mark.parametrize("seat", [None, UP, DRAINING, IDLE])
@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("phase", list(Phase))
def test_only_the_ready_are_in_a_pool(one: Instance, phase: Phase, runs: bool, seat: Seat | None) -> None:
    """In are those that are ready or serve, while they run; away whoever is about to stop, whatever its VM does."""
    wanted = pool.wanted(at(one, phase), runs, seat, NOW_S)
    assert (wanted is Wanted.IN) is (runs and phase in (Phase.READY, Phase.SERVING))
    if phase in (Phase.RESTARTING, Phase.HALTING, Phase.STOPPING, Phase.STOPPED, Phase.FAILED):
        assert wanted is Wanted.AWAY


@pytest.mark.parametrize("phase", [Phase.REQUESTED, Phase.LAYERED, Phase.ANSWERED, Phase.SETUP, Phase.STARTING])
def test_nobody_asks_a_balancer_for_what_can_have_no_seat(one: Instance, phase: Phase) -> None:
    """One that is away holds up neither a deployment nor a removal's last part."""
    assert pool.wanted(at(one, phase), False, None, NOW_S) is None
    assert pool.wanted(at(one, Phase.ERASING), False, None, NOW_S) is None


@pytest.mark.parametrize(
    ("seat", "runs", "for_s", "wanted"),
    [
        (UP, True, 0.5, Wanted.OUT),
        (dataclasses.replace(UP, connections=0), True, 0.5, Wanted.OUT),  # The next one may be on its way.
        (DRAINING, True, 0.5, Wanted.OUT),
        (IDLE, True, 0.5, Wanted.AWAY),
        (DRAINING, True, 2.0, Wanted.AWAY),
        (DRAINING, False, 0.5, Wanted.AWAY),
        (None, True, 0.5, Wanted.AWAY),
    ],
)
def test_connections_may_finish_while_there_is_time(
    one: Instance, seat: Seat | None, runs: bool, for_s: float, wanted: Wanted
) -> None:
    """Out until nothing is open, its time is over or its VM is off; then away."""
    assert pool.wanted(at(one, Phase.DRAINING, for_s), runs, seat, NOW_S) is wanted


def test_a_role_without_endpoints_has_no_seat(one: Instance) -> None:
    """Its instances serve, and no balancer is asked about them."""
    role = dataclasses.replace(one.goal.role, endpoints=())
    bare = dataclasses.replace(one, goal=dataclasses.replace(one.goal, role=role))
    for phase in (Phase.READY, Phase.SERVING):
        assert pool.wanted(at(bare, phase), True, None, NOW_S) is None


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("set_up", [True, False])
@pytest.mark.parametrize("runs", [True, False])
def test_who_is_set_up_and_runs_is_reached_by_itself(one: Instance, phase: Phase, set_up: bool, runs: bool) -> None:
    """Whether it serves, drains or has failed; nobody who is on his way off, or whose setup is not complete."""
    ends = (InstanceEndpoint(name="ssh", ports=Ports(10022, 10024), target=22),)
    role = dataclasses.replace(one.goal.role, instance_endpoints=ends)
    there = dataclasses.replace(at(one, phase), set_up=set_up, goal=dataclasses.replace(one.goal, role=role))
    member = pool.reached(there, runs)
    leaves = phase in (Phase.STOPPING, Phase.ERASING, Phase.GONE, Phase.HALTING, Phase.STOPPED)
    expected = ((PoolName("shop.web.ssh"), 22),) if runs and set_up and not leaves else ()
    assert (member.name, member.pools) == (one.name, expected)


def test_nobody_is_reached_before_his_checkpoint_is_taken(one: Instance) -> None:
    """What a client has done to it would be done again by each reimage."""
    ends = (InstanceEndpoint(name="ssh", ports=Ports(10022, 10024), target=22),)
    role = dataclasses.replace(one.goal.role, instance_endpoints=ends, local_storage=(), reimage=Road.WARM)
    begun = dataclasses.replace(at(one, Phase.STARTING), set_up=True, boot_id="boot", served_at_s=0.0, role=role)
    begun = dataclasses.replace(begun, goal=dataclasses.replace(one.goal, role=role))
    assert pool.reached(begun, True).pools == ()
    assert pool.reached(dataclasses.replace(begun, no_checkpoint="no room"), True).pools
    assert pool.reached(dataclasses.replace(begun, served_at_s=1.0), True).pools


def test_a_seat_fits_in_all_pools_or_not(one: Instance) -> None:
    """One that drains, or is not in exactly the pools of its role, is to be taken anew; a sick one is not."""
    member = pool.member_of(one)
    assert pool.fits(UP, member)
    assert pool.fits(dataclasses.replace(UP, standing=Standing.DOWN), member)
    for seat in (
        None,
        DRAINING,
        dataclasses.replace(UP, pools=()),
        dataclasses.replace(UP, pools=(*UP.pools, PoolName("x"))),
    ):
        assert not pool.fits(seat, member)


KEPT = checkpoint()
HTTP = Endpoint(name="http", port=80, target=8080, mode=Mode.HTTP, probe=HttpProbe(path="/healthz"))
TCP = Endpoint(name="ssh", port=22, target=2022)


def restored(instance: Instance, *endpoints: Endpoint) -> Instance:
    """In the second generation that goes on with the memory, with those endpoints."""
    role = dataclasses.replace(instance.role, endpoints=endpoints)
    goal = dataclasses.replace(instance.goal, role=role)
    kept = dataclasses.replace(instance, checkpoint=KEPT, generation=2, layered=2, boot=2, boot_id=KEPT.boot_id)
    return dataclasses.replace(kept, role=role, goal=goal)


def test_who_goes_on_with_memory_is_asked_by_the_host_at_once(one: Instance) -> None:
    """At the port of its own, or the probe's; by TCP where nobody says how."""
    assert pool.asked_at_once(restored(one, HTTP, TCP)) == ((HTTP.probe, 8080), (TcpProbe(), 2022))
    other = dataclasses.replace(HTTP, probe=HttpProbe(port=9090))
    assert pool.asked_at_once(restored(one, other)) == ((other.probe, 9090),)


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint": None},
        {"checkpoint": dataclasses.replace(KEPT, memory=None)},
        {"checkpoint": dataclasses.replace(KEPT, generation=2)},  # It has never served with it.
        {"layered": 1},
        {"boot_id": "another boot"},
    ],
)
def test_who_has_not_served_so_is_asked_by_its_balancer_alone(one: Instance, changes: dict[str, object]) -> None:
    """Whoever boots may open its port a moment later than it says to be ready."""
    assert pool.asked_at_once(dataclasses.replace(restored(one, HTTP), **changes)) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"probe": CommandProbe(command=("/bin/true",)), "mode": Mode.TCP},
        {"probe": HttpProbe(initial_delay_s=5.0)},
        {"mode": Mode.UDP, "probe": None},
        {"range": Ports(80, 82)},
        {"proxy_protocol": True},
    ],
)
def test_what_the_host_cannot_ask_alike_is_left_to_the_balancer(one: Instance, other: dict[str, object]) -> None:
    """Also where the other endpoints could be asked: it is in rotation when it is in all its pools."""
    assert pool.asked_at_once(restored(one, TCP, dataclasses.replace(HTTP, **other))) == ()  # type: ignore[arg-type]
