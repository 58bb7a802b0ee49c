"""Ports of a VIP that lead to one instance each, and endpoints of several ports, on real nftables and conntrack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.errors import Busy, EndpointRefused
from orchestrator.model import Carrier, Frontend, InstanceEndpoint, InstanceName, Member, Mode, PoolName, Ports
from orchestrator.rules.frontends import frontends_of
from tests.contract.suites.balancer import ONE, ZERO
from tests.contract.suites.network import make_service
from tests.lab.harness.places import CLIENT_ADDRESS, CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.kernel_pools import (
    IPV4,
    POOL,
    SPACES,
    VIP,
    Begin,
    Serving,
    Ways,
    begin,
    by_either,
    members,
    outside,
    says,
    ways,
    wire,
    woken,
)
from tests.lab.stand_in import StandIn
from tests.world.origin import Origin
from tests.world.waiting import comes_true

__all__ = ["begin", "members", "outside", "ways", "wire", "woken"]  # fixtures

OWN = PoolName("shop.web.own")
DOORS = Frontend(
    pool=OWN,
    vip=VIP,
    port=10080,
    range=Ports(10080, 10082),
    each=True,
    mode=Mode.TCP,
    probe=None,
    carrier=Carrier.NFTABLES,
)
# A count holds for a hundred times as long as it took, which is long where others have the processors.
COUNTED_WITHIN_S = 180.0


def doors_at(ways: Ways) -> Frontend:
    """The same, at the VIP of that family."""
    return replace(DOORS, vip=ways.vip)


def at(ways: Ways, port: int, space: str = CLIENT_NAMESPACE) -> str:
    """Who answers at a port of the VIP, and whom he sees."""
    return ways.ask(space, port=port)


def reached(ways: Ways, name: InstanceName, *pools: PoolName) -> Member:
    """The member, with its own doors in these pools."""
    return ways.behind(name, *((pool, 8080) for pool in pools))


@pytest.mark.usefixtures("members")
@by_either
def test_each_port_leads_to_its_own_instance(begin: Begin, ways: Ways) -> None:
    """By its index, to nobody else; the port of who is not there refuses at once. So does the next daemon."""
    balancer = begin()
    with pytest.raises(Busy):
        balancer.reach(reached(ways, ZERO, OWN))
    balancer.shape([doors_at(ways)])
    assert [at(ways, port) for port in DOORS.ports] == ["refused"] * 3
    balancer.reach(reached(ways, ONE, OWN))
    assert [at(ways, port) for port in DOORS.ports] == ["refused", f"web-1 {ways.client}", "refused"]
    balancer.reach(reached(ways, ZERO, OWN))
    for _ in range(3):
        assert [at(ways, port).split(" ")[0] for port in DOORS.ports] == ["web-0", "web-1", "refused"]
    assert set(balancer.reached()) == {ZERO, ONE}
    assert balancer.seats() == {}, "who is reached by himself is no member"
    balancer.__exit__()
    successor = begin()
    assert set(successor.reached()) == {ZERO, ONE}
    assert at(ways, 10081, SPACES[ONE]).startswith("web-1 "), "an instance does not reach its own door"
    assert at(ways, 10080, "").startswith("web-0 "), "the host does not"


@pytest.mark.usefixtures("members")
@by_either
def test_a_door_is_for_those_who_may_come(begin: Begin, ways: Ways) -> None:
    """By a network of the endpoint's `allow`, all others are refused at once; what is open goes on."""
    balancer = begin()
    elsewhere, there = (
        replace(doors_at(ways), allow=(ways.alone(address),)) for address in (ways.stranger, ways.client)
    )
    balancer.shape([elsewhere])
    balancer.reach(reached(ways, ONE, OWN))
    assert at(ways, 10081) == "refused"
    balancer.shape([there])
    assert at(ways, 10081) == f"web-1 {ways.client}"
    assert (at(ways, 10081, SPACES[ZERO]), at(ways, 10081, "")) == ("refused", "refused")
    with ways.connect(port=10081) as talk:
        balancer.shape([elsewhere])
        assert at(ways, 10081) == "refused"
        assert says(talk) == f"web-1 {ways.client} x"


@pytest.mark.usefixtures("members")
@by_either
def test_a_door_has_nothing_to_do_with_the_pool(begin: Begin, ways: Ways) -> None:
    """Who drains, is not well or has left is reached by himself as before; what is open there goes on, uncounted."""
    balancer = begin()
    balancer.shape([ways.tcp, doors_at(ways)])
    balancer.join(ways.member(ZERO, POOL))
    balancer.reach(reached(ways, ZERO, OWN))
    with ways.connect(port=10080) as talk, ways.connect() as pooled:
        assert says(talk).startswith("web-0 ")
        assert says(pooled).startswith("web-0 ")
        balancer.drain(ZERO)
        assert comes_true(lambda: balancer.seats()[ZERO].connections == 1, COUNTED_WITHIN_S), "the door's was counted"
        balancer.heed(ZERO, well=False)
        assert at(ways, 10080).startswith("web-0 ")
        balancer.leave(ZERO)
        assert says(pooled) == ""
        assert says(talk).startswith("web-0 "), "leaving the pool has cut what is no business of the pool"
        assert at(ways, 80) == "refused"
        assert at(ways, 10080).startswith("web-0 ")


@pytest.mark.usefixtures("members")
@by_either
def test_a_door_that_is_shut_cuts_what_is_open(begin: Begin, ways: Ways) -> None:
    """Its client is told; what the pool has open goes on, and a sick member's door stays open."""
    balancer = begin()
    balancer.shape([ways.tcp, doors_at(ways)])
    balancer.join(ways.member(ZERO, POOL))
    balancer.reach(reached(ways, ZERO, OWN))
    with ways.connect(port=10080) as talk, ways.connect() as pooled:
        assert says(talk)
        assert says(pooled)
        for _ in range(2):
            balancer.reach(reached(ways, ZERO))
        # Its kernel may be told before it writes: by a late acknowledgement of what it had read.
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            talk.sendall(b"z")
            talk.recv(100)
        assert says(pooled).startswith("web-0 ")
    assert at(ways, 10080) == "refused"
    assert list(balancer.reached()) == []


@pytest.mark.parametrize("first", [8000, 9000])
@by_either
def test_several_ports_lead_to_as_many(begin: Begin, first: int, ways: Ways) -> None:
    """Each to the one at the same distance, and to no other; ports beside them are nobody's."""
    balancer = begin()
    several = replace(ways.tcp, port=8000, range=Ports(8000, 8002), probe=None)
    balancer.shape([several])
    with Serving(ZERO, first, ways.here), Serving(ONE, first, ways.here):
        for name in (ZERO, ONE):
            balancer.join(ways.behind(name, (POOL, first)))
        assert {at(ways, 8000) for _ in range(4)} == {f"web-0 {ways.client}", f"web-1 {ways.client}"}
        assert at(ways, 8002) == "refused"  # The member's word.
        with ways.connect(port=8000) as talk:
            assert says(talk)
            assert comes_true(lambda: balancer.traffic([POOL])[POOL].whole.open == 1, COUNTED_WITHIN_S)
    with Serving(ZERO, first + 2, ways.here), Serving(ONE, first + 2, ways.here):
        assert at(ways, 8002).startswith("web-")


def test_of_several_ports_one_that_is_taken_is_named(begin: Begin) -> None:
    """The endpoint is refused as a whole: half of a range is none."""
    with Origin("foreign", VIP, 10081), pytest.raises(EndpointRefused, match="port 10081 of"):
        begin().shape([DOORS])


@pytest.fixture
def vips() -> Iterator[VipAddresses]:
    """The host's addresses for services; none is left after the test."""
    addresses = VipAddresses(OUTSIDE_LINK, SystemClock())
    yield addresses
    addresses.hold(())


def test_a_service_s_firewall_lets_its_doors_through(
    network: HostNetwork, tmp_path: Path, vips: VipAddresses
) -> None:
    """As the service's file says, for a client; the instance's address itself stays closed to him."""
    shop, (web, other) = make_service("shop", VIP, 2)
    own = InstanceEndpoint(name="own", ports=DOORS.range or Ports(0, 0), target=8080)
    role = replace(shop.spec.roles[0], instance_endpoints=(own,), endpoints=())
    shop = replace(shop, spec=replace(shop.spec, roles=(role,)))
    network.lay(shop, [web, other])
    vips.hold({VIP})
    with (
        StandIn(shop, web).plugged() as inside,
        NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()) as balancer,
    ):
        inside.configure()
        SPACES[web.name] = inside.namespace
        with Serving(web.name):
            balancer.shape(frontends_of(shop))
            assert at(IPV4, 10080) == "refused"
            balancer.reach(Member(name=web.name, address=web.nic.address, pools=((OWN, 8080),)))
            assert at(IPV4, 10080) == f"web-0 {CLIENT_ADDRESS}"
            assert (at(IPV4, 10081), at(IPV4, 10083)) == ("refused", "silence")
        balancer.shape([])
    SPACES[ZERO] = "member0"
    network.lift(shop)
    assert "vmrole" not in HOST.run(["nft", "list", "tables"]).stdout
