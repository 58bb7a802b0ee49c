"""What the kernel is asked of its pools, and what is made of its answers."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.drivers.balancer.nft_counts import Counts, questions
from orchestrator.model import Frontend, InstanceName, Member, Mode, PoolName, Ports, Traffic

TCP = Frontend(pool=PoolName("shop.web.sql"), vip="203.0.113.10", port=5432, mode=Mode.TCP, probe=None)
SEVERAL = replace(TCP, pool=PoolName("shop.web.several"), port=8000, range=Ports(8000, 8001), mode=Mode.UDP)
ZERO, ONE = InstanceName("web-0.shop"), InstanceName("web-1.shop")


def member(name: InstanceName, address: str, *ends: Frontend) -> Member:
    """Behind these."""
    return Member(name=name, address=address, pools=tuple((end.pool, 80) for end in ends))


def test_nobody_is_asked_about_but_those_asked_for() -> None:
    """Of each endpoint its own places and members; nothing where there is no endpoint, or no VIP."""
    both = [member(ZERO, "10.0.0.10", TCP, SEVERAL), member(ONE, "10.0.0.11", SEVERAL)]
    assert list(questions([], both)) == []
    assert dict(questions([TCP], both)) == {
        "refused": "get element ip vmrole_pools refused { 203.0.113.10 . tcp . 5432 }",
        "received": "get element ip vmrole_pools received { 10.0.0.10 . tcp . 5432 }",
        "sent": "get element ip vmrole_pools sent { 10.0.0.10 . tcp . 5432 }",
    }
    assert dict(questions([replace(SEVERAL, vip="")], both)) == {
        f"{name}_ranges": f"get element ip vmrole_pools {name}_ranges "
        "{ 10.0.0.10 . udp . 8000-8001, 10.0.0.11 . udp . 8000-8001 }"
        for name in ("received", "sent")
    }


def test_so_many_elements_are_asked_for_at_a_time() -> None:
    """A thousand ports are two questions, and none is forgotten."""
    wide = replace(TCP, range=Ports(5000, 5999), port=5000)
    asked = [question for name, question in questions([wide], []) if name == "refused"]
    assert len(asked) == 2
    assert sum(question.count(" . tcp . ") for question in asked) == 1000


def test_what_is_not_known_is_not_nought() -> None:
    """An element that was not there tells nothing; of an endpoint without a VIP nobody can be refused."""
    lines = (f"10.0.0.{last} . tcp . 5432 counter packets 3 bytes {size}" for last, size in ((10, 180), (11, 0)))
    counts = Counts.heard([("received", "elements = { " + ",\n\t\t".join(lines) + " }")])
    carried = counts.carried(TCP, {ZERO: (["10.0.0.10", "fd00::a"], 2), ONE: (["10.0.0.11"], 0)})
    assert carried.members == {ZERO: Traffic(open=2, received_bytes=180), ONE: Traffic(open=0, received_bytes=0)}
    assert carried.whole == Traffic(open=2, received_bytes=180)
    assert Counts().carried(replace(TCP, vip=""), {}).whole.refusals == 0
