"""Endpoints, their members and addresses, as tests of balancers use them."""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator.errors import Transient
from orchestrator.model import Frontend, HttpProbe, InstanceName, Member, Mode, PoolName, Seat
from orchestrator.ports import Balancer
from tests.world.waiting import comes_true

# Loopback is a /8: each run of the tests has a corner of its own, so that two at a time do not meet.
CORNER = f"127.{1 + os.getpid() // 250 % 250}.{os.getpid() % 250}"
VIP = f"{CORNER}.1"
PORT = 18077
POOL = PoolName("shop.web.http")
OTHER_POOL = PoolName("shop.web.admin")
ZERO, ONE = InstanceName("web-0.shop"), InstanceName("web-1.shop")
ADDRESSES = {ZERO: f"{CORNER}.10", ONE: f"{CORNER}.11"}
HTTP = Frontend(pool=POOL, vip=VIP, port=PORT, mode=Mode.HTTP, probe=HttpProbe(path="/healthz"))
ADMIN = Frontend(pool=OTHER_POOL, vip=VIP, port=PORT + 1, mode=Mode.TCP, probe=None)


def member(name: InstanceName, *pools: PoolName) -> Member:
    """The member as the reconciler would describe it."""
    return Member(name=name, address=ADDRESSES[name], pools=tuple((pool, 8077) for pool in pools or (POOL,)))


def patiently(call: Callable[[], None], within_s: float = 5.0) -> None:
    """As the reconciler does it: again while the world says that waiting helps."""
    troubles: list[Transient] = []

    def works() -> bool:
        try:
            call()
        except Transient as error:
            troubles.append(error)
            return False
        return True

    if not comes_true(works, within_s):
        raise troubles[-1]


def looked(balancer: Balancer) -> dict[InstanceName, Seat]:
    """The seats of both members, each as it is now."""
    seats = ((name, balancer.seat(name)) for name in (ZERO, ONE))
    return {name: seat for name, seat in seats if seat is not None}
