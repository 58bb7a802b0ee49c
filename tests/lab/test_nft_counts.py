"""What the kernel counts of its pools: bytes of each member, and who was refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.model import InstanceName, PoolName, Ports
from tests.contract.suites.balancer import ONE, ZERO
from tests.lab.kernel_pools import (
    DNS,
    POOL,
    Begin,
    Ways,
    begin,
    by_either,
    members,
    outside,
    says,
    second_client,
    ways,
    wire,
    woken,
)

__all__ = ["begin", "members", "outside", "second_client", "ways", "wire", "woken"]  # fixtures


@pytest.mark.usefixtures("members")
@by_either
def test_bytes_and_refusals_are_counted_of_whom_they_are(begin: Begin, second_client: str, ways: Ways) -> None:
    """Of each endpoint by itself though two lead to one port, both ways, of a range as well; what is open goes on to
    be counted when its place has become another's. Who is refused, for whatever reason, is counted of the endpoint.
    """
    balancer = begin()
    more = replace(
        ways.tcp, port=81, range=Ports(81, 90), pool=PoolName("shop.web.more"), allow=(ways.alone(ways.client),)
    )
    pools = [ways.tcp.pool, ways.udp.pool, more.pool]
    balancer.shape([ways.tcp, ways.udp, more])
    assert [ways.ask(), ways.ask(), ways.ask_udp()] == ["refused"] * 3
    assert counted(balancer, pools) == {ways.tcp.pool: (2, {}), ways.udp.pool: (1, {}), more.pool: (0, {})}
    balancer.join(ways.behind(ZERO, (POOL, 8080), (DNS, 5353), (more.pool, 8080)))
    assert ways.ask_udp() == f"web-0 {ways.client}"
    with ways.connect() as talk:
        says(talk, "x" * 50)
        with ways.connect(port=81) as other:
            assert says(other)
            with pytest.raises(ConnectionRefusedError):
                ways.connect(port=81, source=second_client)
        before = balancer.traffic(pools)
        assert before[ways.tcp.pool].whole.refusals == 2
        assert before[more.pool].whole.refusals == 1
        zero = before[ways.tcp.pool].members[ZERO]
        assert min(zero.received_bytes or 0, zero.sent_bytes or 0) > 50
        assert max(zero.received_bytes or 0, zero.sent_bytes or 0) < 2000
        assert all(0 < (one.members[ZERO].sent_bytes or 0) < 1000 for one in before.values())
        theirs = replace(ways.tcp, pool=PoolName("shop--b.web.tcp"))
        balancer.shape([replace(ways.tcp, vip=""), ways.udp, more, theirs])
        balancer.join(ways.behind(ONE, (theirs.pool, 8080)))
        says(talk, "x" * 50)
        after = balancer.traffic([*pools, theirs.pool])
    assert (after[ways.tcp.pool].members[ZERO].received_bytes or 0) >= (zero.received_bytes or 0) + 50
    assert after[theirs.pool].members[ONE].received_bytes == 0
    assert after[ways.udp.pool].members[ZERO].received_bytes == before[ways.udp.pool].members[ZERO].received_bytes
    assert after[ways.udp.pool].whole.refusals == before[ways.udp.pool].whole.refusals == 1
    assert balancer.traffic([]) == {}


def counted(
    balancer: NftablesBalancer, pools: list[PoolName]
) -> dict[PoolName, tuple[int | None, dict[InstanceName, int]]]:
    """Refusals of each pool, and what each member has received."""
    return {
        pool: (one.whole.refusals, {name: own.received_bytes or 0 for name, own in one.members.items()})
        for pool, one in balancer.traffic(pools).items()
    }
