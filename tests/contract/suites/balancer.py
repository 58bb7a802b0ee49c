"""What every Balancer keeps, the fake and HAProxy alike. The module under test gives the fixtures `balancer` and
`send`, a request from a client to the endpoint HTTP that is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.errors import Busy
from orchestrator.model import PROBES_KEPT, InstanceName, Member, PoolName, Standing
from orchestrator.ports import Balancer
from tests.world.endpoints import (
    ADDRESSES,
    ADMIN,
    CORNER,
    HTTP,
    ONE,
    OTHER_POOL,
    POOL,
    PORT,
    VIP,
    ZERO,
    looked,
    member,
    patiently,
)
from tests.world.waiting import until

__all__ = [
    "ADDRESSES",
    "ADMIN",
    "CORNER",
    "HTTP",
    "ONE",
    "OTHER_POOL",
    "POOL",
    "PORT",
    "VIP",
    "ZERO",
    "BalancerContract",
    "looked",
    "member",
    "patiently",
]


def glances_agree(balancer: Balancer, standings: dict[InstanceName, Standing]) -> None:
    """Busy while they do not: both are as of a moment ago."""
    glances = {name: seat for name in (ZERO, ONE) if (seat := balancer.glance(name)) is not None}
    seats = dict(balancer.seats())
    what = {name: (seat.standing, seat.address, seat.pools) for name, seat in glances.items()}
    if what != {name: (seat.standing, seat.address, seat.pools) for name, seat in seats.items()}:
        raise Busy(f"a glance tells {what}, all seats {seats}")
    if {name: seat.standing for name, seat in glances.items()} != standings:
        raise Busy(f"{what} are not {standings}")


def _has_seats(balancer: Balancer, names: set[InstanceName]) -> None:
    """Busy while others have one."""
    if (seats := set(balancer.seats())) != names:
        raise Busy(f"{sorted(seats)} have seats")


def carries(balancer: Balancer, pool: PoolName) -> dict[InstanceName, int]:
    """Bytes that each member has received and sent; 0 as long as one way has had none."""
    carried = balancer.traffic([pool])[pool]
    bytes_of = {name: (one.received_bytes or 0, one.sent_bytes or 0) for name, one in carried.members.items()}
    return {name: sum(both) if all(both) else 0 for name, both in bytes_of.items()}


class BalancerContract:
    """The suite."""

    def test_a_member_is_up_at_once(self, balancer: Balancer) -> None:
        """A joined member stands in all its pools and gets traffic without waiting for a first check."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        seat = balancer.seats()[ZERO]
        assert (seat.standing, seat.address, seat.pools) == (Standing.UP, ADDRESSES[ZERO], (POOL,))

    def test_a_good_member_is_checked_soon(self, balancer: Balancer) -> None:
        """That it is up is then known, and no longer only believed."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        until(lambda: balancer.seats()[ZERO].checked, 30.0)
        assert balancer.seats()[ZERO].standing is Standing.UP

    def test_every_verb_may_be_repeated(self, balancer: Balancer) -> None:
        """Joining, draining and leaving twice is as once; an absent member may drain and leave."""
        balancer.shape([HTTP])
        for _ in range(2):
            balancer.shape([HTTP])
            balancer.join(member(ZERO))
        for _ in range(2):
            balancer.drain(ZERO)
        assert balancer.seats()[ZERO].standing is Standing.DRAINING
        for _ in range(2):
            patiently(lambda: balancer.leave(ZERO))
        balancer.drain(ONE)
        balancer.leave(ONE)
        assert balancer.seats() == {}

    def test_a_draining_member_may_come_back(self, balancer: Balancer) -> None:
        """Joining takes a draining member back."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        balancer.drain(ZERO)
        balancer.join(member(ZERO))
        assert balancer.seats()[ZERO].standing is Standing.UP

    def test_who_has_no_pool_left_has_no_seat(self, balancer: Balancer) -> None:
        """The last endpoint of its role was taken out of the file: it need not leave, and who has one stays."""
        balancer.shape([HTTP, ADMIN])
        balancer.join(member(ZERO, POOL))
        balancer.join(member(ONE, POOL, OTHER_POOL))
        patiently(lambda: balancer.shape([ADMIN]))
        patiently(lambda: _has_seats(balancer, {ONE}))

    def test_who_is_told_to_be_unwell_gets_nothing_until_he_is_well(self, balancer: Balancer) -> None:
        """It is down, which is no drain, and joining again does not make it well. An absent one is fine."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        for _ in range(2):
            balancer.heed(ZERO, well=False)
            balancer.heed(ONE, well=False)
            assert {name: seat.standing for name, seat in looked(balancer).items()} == {ZERO: Standing.DOWN}
            balancer.join(member(ZERO))
        for _ in range(2):
            balancer.heed(ZERO, well=True)
            assert looked(balancer)[ZERO].standing is Standing.UP

    def test_a_glance_at_one_tells_what_a_look_at_all_does(self, balancer: Balancer) -> None:
        """Of who is in a pool, who drains, who is not well, who has left, and who was never there."""
        balancer.shape([HTTP, ADMIN])
        assert balancer.glance(ZERO) is None
        balancer.join(member(ZERO, POOL, OTHER_POOL))
        balancer.join(member(ONE))
        patiently(lambda: glances_agree(balancer, {ZERO: Standing.UP, ONE: Standing.UP}))
        balancer.drain(ZERO)
        balancer.heed(ONE, well=False)
        patiently(lambda: glances_agree(balancer, {ZERO: Standing.DRAINING, ONE: Standing.DOWN}))
        patiently(lambda: balancer.leave(ZERO))
        patiently(lambda: glances_agree(balancer, {ONE: Standing.DOWN}))

    def test_traffic_is_told_of_who_is_in_the_pools_asked_for(self, balancer: Balancer) -> None:
        """By pool and member, of pools that are served; of who has left nothing."""
        assert balancer.traffic([POOL]) == {}
        balancer.shape([HTTP, ADMIN])
        balancer.join(member(ZERO, POOL, OTHER_POOL))
        balancer.join(member(ONE))
        assert {pool: set(carried.members) for pool, carried in balancer.traffic([POOL, OTHER_POOL]).items()} == {
            POOL: {ZERO, ONE},
            OTHER_POOL: {ZERO},
        }
        patiently(lambda: balancer.leave(ZERO))
        [carried] = balancer.traffic([POOL, PoolName("shop.web.none")]).values()
        assert set(carried.members) == {ONE}
        assert {(one.open, one.begun or 0) for one in (carried.whole, carried.members[ONE])} == {(0, 0)}

    def test_bytes_are_counted_of_who_has_carried_them(self, balancer: Balancer, send: Callable[[], None]) -> None:
        """Both ways, while it stays, whoever else comes; who has left takes what was his along."""
        balancer.shape([HTTP, ADMIN])
        balancer.join(member(ZERO, POOL, OTHER_POOL))
        send()
        until(lambda: carries(balancer, POOL)[ZERO] > 0, 30.0)
        before = carries(balancer, POOL)[ZERO]
        balancer.join(member(ONE, OTHER_POOL))
        send()
        until(lambda: carries(balancer, POOL)[ZERO] > before, 30.0)
        assert carries(balancer, OTHER_POOL) == {ZERO: 0, ONE: 0}
        patiently(lambda: balancer.leave(ZERO))
        balancer.join(member(ZERO, POOL, OTHER_POOL))
        assert carries(balancer, POOL) == {ZERO: 0}

    def test_health_takes_no_draining_member_back(self, balancer: Balancer) -> None:
        """In whichever order both are told; who is taken back while he is unwell waits until he is well."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        for first in (True, False):
            if first:
                balancer.heed(ZERO, well=False)
            balancer.drain(ZERO)
            balancer.heed(ZERO, well=False)
            assert looked(balancer)[ZERO].standing is Standing.DRAINING
            balancer.heed(ZERO, well=True)
            assert looked(balancer)[ZERO].standing is Standing.DRAINING
            balancer.heed(ZERO, well=False)
            balancer.join(member(ZERO))
            assert looked(balancer)[ZERO].standing is Standing.DOWN
            balancer.heed(ZERO, well=True)
            assert looked(balancer)[ZERO].standing is Standing.UP

    def test_who_left_unwell_comes_back_as_anybody(self, balancer: Balancer) -> None:
        """What was thought of him before is forgotten."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        balancer.heed(ZERO, well=False)
        patiently(lambda: balancer.leave(ZERO))
        balancer.join(member(ZERO))
        assert looked(balancer)[ZERO].standing is Standing.UP

    def test_members_stay_when_endpoints_change(self, balancer: Balancer) -> None:
        """A new endpoint disturbs no member; a member takes its place behind it by joining again."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        patiently(lambda: balancer.shape([HTTP, ADMIN]))
        assert balancer.seats()[ZERO].standing is Standing.UP
        balancer.join(member(ZERO, POOL, OTHER_POOL))
        assert set(balancer.seats()[ZERO].pools) == {POOL, OTHER_POOL}

    def test_two_members_are_two_seats(self, balancer: Balancer) -> None:
        """One leaves, the other stays."""
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        balancer.join(member(ONE))
        patiently(lambda: balancer.leave(ZERO))
        assert set(balancer.seats()) == {ONE}

    def test_the_last_checks_are_told_of_who_is_in_the_pools_asked_for(self, balancer: Balancer) -> None:
        """As far as anybody but the balancer itself asks: so many at most, and nothing of who has left."""
        assert balancer.probed([POOL]) == {}
        balancer.shape([HTTP, ADMIN])
        balancer.join(member(ZERO, POOL, OTHER_POOL))
        until(lambda: balancer.seats()[ZERO].checked, 30.0)
        probed = balancer.probed([POOL, PoolName("shop.web.none")])
        assert set(probed) <= {POOL}
        for results in probed.values():
            assert set(results) == {ZERO}
            assert 1 <= len(results[ZERO]) <= PROBES_KEPT
            assert {one.why for one in results[ZERO]} == {""}
        patiently(lambda: balancer.leave(ZERO))
        assert balancer.probed([POOL]) == {}

    def test_services_share_an_address(self, balancer: Balancer) -> None:
        """Each has its endpoints at it; one comes and goes without the other's being disturbed."""
        theirs = replace(ADMIN, pool=PoolName("blog.web.http"), service="blog")
        blog = Member(name=InstanceName("web-0.blog"), address=ADDRESSES[ONE], pools=((theirs.pool, 8077),))
        balancer.shape([HTTP])
        balancer.join(member(ZERO))
        patiently(lambda: balancer.shape([HTTP, theirs]))
        balancer.join(blog)
        assert {name: seat.pools for name, seat in balancer.seats().items()} == {
            ZERO: (POOL,),
            blog.name: (theirs.pool,),
        }
        patiently(lambda: balancer.leave(ZERO))
        patiently(lambda: balancer.shape([theirs]))
        assert {name: seat.standing for name, seat in balancer.seats().items()} == {blog.name: Standing.UP}
