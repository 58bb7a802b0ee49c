"""What the kernel counts of its pools: bytes of each member, and who was refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.model import InstanceName, PoolName, Ports
from tests.contract.suites.balancer import ONE, ZERO
from tests.lab.harness.places import CLIENT_ADDRESS
from tests.lab.kernel_pools import (
    DNS,
    POOL,
    TCP,
    UDP,
    Begin,
    ask,
    ask_udp,
    begin,
    connect,
    member,
    members,
    says,
    second_client,
    wire,
    woken,
)

__all__ = ["begin", "members", "second_client", "wire", "woken"]  # fixtures


@pytest.mark.usefixtures("members")
def test_bytes_and_refusals_are_counted_of_whom_they_are(begin: Begin, second_client: str) -> None:
    """Of each endpoint by itself though two lead to one port, both ways, of a range as well; what is open goes on to
    be counted when its place has become another's. Who is refused, for whatever reason, is counted of the endpoint.
    """
    balancer = begin()
    more = replace(TCP, port=81, range=Ports(81, 90), pool=PoolName("shop.web.more"), allow=(f"{CLIENT_ADDRESS}/32",))
    pools = [TCP.pool, UDP.pool, more.pool]
    balancer.shape([TCP, UDP, more])
    assert [ask(), ask(), ask_udp()] == ["refused"] * 3
    assert counted(balancer, pools) == {TCP.pool: (2, {}), UDP.pool: (1, {}), more.pool: (0, {})}
    balancer.join(replace(member(ZERO), pools=((POOL, 8080), (DNS, 5353), (more.pool, 8080))))
    assert ask_udp() == f"web-0 {CLIENT_ADDRESS}"
    with connect() as talk:
        says(talk, "x" * 50)
        with connect(port=81) as other:
            assert says(other)
            with pytest.raises(ConnectionRefusedError):
                connect(port=81, source=second_client)
        before = balancer.traffic(pools)
        assert before[TCP.pool].whole.refusals == 2
        assert before[more.pool].whole.refusals == 1
        zero = before[TCP.pool].members[ZERO]
        assert min(zero.received_bytes or 0, zero.sent_bytes or 0) > 50
        assert max(zero.received_bytes or 0, zero.sent_bytes or 0) < 2000
        assert all(0 < (one.members[ZERO].sent_bytes or 0) < 1000 for one in before.values())
        theirs = replace(TCP, pool=PoolName("shop--b.web.tcp"))
        balancer.shape([replace(TCP, vip=""), UDP, more, theirs])
        balancer.join(replace(member(ONE), pools=((theirs.pool, 8080),)))
        says(talk, "x" * 50)
        after = balancer.traffic([*pools, theirs.pool])
    assert (after[TCP.pool].members[ZERO].received_bytes or 0) >= (zero.received_bytes or 0) + 50
    assert after[theirs.pool].members[ONE].received_bytes == 0
    assert after[UDP.pool].members[ZERO].received_bytes == before[UDP.pool].members[ZERO].received_bytes
    assert after[UDP.pool].whole.refusals == before[UDP.pool].whole.refusals == 1
    assert balancer.traffic([]) == {}


def counted(
    balancer: NftablesBalancer, pools: list[PoolName]
) -> dict[PoolName, tuple[int | None, dict[InstanceName, int]]]:
    """Refusals of each pool, and what each member has received."""
    return {
        pool: (one.whole.refusals, {name: own.received_bytes or 0 for name, own in one.members.items()})
        for pool, one in balancer.traffic(pools).items()
    }
