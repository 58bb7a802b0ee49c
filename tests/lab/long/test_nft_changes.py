"""Thousands of changes of a pool in the kernel under clients that never stop: a packet may meet one half way."""

from __future__ import annotations

import collections
import itertools
import time

import pytest

from tests.contract.suites.balancer import ONE, ZERO
from tests.lab.kernel_pools import POOL, Begin, Ways, asking, begin, by_either, members, outside, ways, wire, woken

__all__ = ["begin", "members", "outside", "ways", "wire", "woken"]

CHURN_S = 45.0
CHANGES_LEAST = 100  # on a host that has no time for it


@pytest.mark.usefixtures("members")
@by_either
def test_thousands_of_changes_refuse_nobody(begin: Begin, ways: Ways) -> None:
    """One member leaves the dealing and comes again, and then the other; some one is always there."""
    balancer = begin()
    balancer.shape([ways.tcp])
    balancer.join(ways.member(ZERO, POOL))
    balancer.join(ways.member(ONE, POOL))
    with asking(ways, clients=4) as answers:
        end, changes = time.monotonic() + CHURN_S, 0
        for name in itertools.cycle((ZERO, ONE)):
            balancer.drain(name)
            balancer.join(ways.member(name, POOL))
            changes += 1
            if time.monotonic() > end and changes > CHANGES_LEAST:
                break
    heard = collections.Counter(answers)
    assert set(heard) == ways.both, f"{changes} changes: {heard}"
