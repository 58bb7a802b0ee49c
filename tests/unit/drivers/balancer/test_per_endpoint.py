"""Two balancers as one: whose turn it is when something fails in either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.errors import Busy, NoSpace, Whose, WorldError
from orchestrator.model import Frontend, Member, Mode, PoolName, instance_name
from tests.world.balancing import place

__all__ = ["place"]  # a fixture

POOL = PoolName("shop.web.http")
MEMBER = Member(name=instance_name("shop", "web", 0), address="10.90.0.10", pools=((POOL, 8080),))
FRONTEND = Frontend(pool=POOL, vip="127.0.0.1", port=80, mode=Mode.HTTP, probe=None)


def test_what_fails_in_a_balancer_is_the_balancers(place: Path, tmp_path: Path) -> None:
    """Not the host's, as all else that does not say whose it is."""
    haproxy = HaproxyBalancer(place, "no-such-program", lambda *_: None, SystemClock())
    with haproxy, NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()) as kernel:
        with pytest.raises(Busy, match="not set up yet") as busy:
            PerEndpoint(haproxy, kernel, SystemClock()).join(MEMBER)
        assert busy.value.whose is Whose.BALANCER


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (NoSpace("full"), Whose.HOST),
        (Busy("the image is being read", whose=Whose.IMAGE), Whose.IMAGE),
    ],
)
def test_who_knows_better_says_so(place: Path, tmp_path: Path, error: WorldError, whose: Whose) -> None:
    """A full disk stays the host's, and what names somebody is believed."""

    class Failing(HaproxyBalancer):
        @contextlib.contextmanager
        def shaping(self, frontends: object) -> Iterator[Callable[[], None]]:
            yield lambda: None
            raise error

    with (
        Failing(place, "haproxy", lambda *_: None, SystemClock()) as haproxy,
        NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()) as kernel,
    ):
        with pytest.raises(type(error)) as raised:
            PerEndpoint(haproxy, kernel, SystemClock()).shape([FRONTEND])
        assert raised.value.whose is whose


def test_the_endpoints_of_all_are_parted_once(place: Path, tmp_path: Path) -> None:
    """Each service's turn asks for all of them, and each balancer is asked for what it was asked for before."""
    asked: list[object] = []

    class Listening(HaproxyBalancer):
        @contextlib.contextmanager
        def shaping(self, frontends: object) -> Iterator[Callable[[], None]]:
            asked.append(frontends)
            yield lambda: None

    haproxy = Listening(place, "haproxy", lambda *_: None, SystemClock())
    kernel = NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock())
    balancer = PerEndpoint(haproxy, kernel, SystemClock())
    other = replace(FRONTEND, port=81)
    for frontends in ((FRONTEND,), (FRONTEND,), [FRONTEND, other], (), ()):
        balancer.shape(frontends)
    assert asked == [(FRONTEND,), (FRONTEND,), (FRONTEND, other), (), ()]
    assert asked[0] is asked[1]
