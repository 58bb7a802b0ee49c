"""Addresses and networks: whatever is taken for one can stand in a configuration, a rule and a path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.drivers.balancer import haproxy_config
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy_host import Surroundings
from orchestrator.drivers.balancer.nft_pools import Names, Place, pools, transaction
from orchestrator.drivers.balancer.nft_words import IPV6, address_of
from orchestrator.errors import InvalidInput
from orchestrator.model import Frontend, Mode, PoolName, ip
from orchestrator.rules.addressing import check_vip
from orchestrator.servicefile.fields import networks

PLAIN = re.compile(r"[0-9a-f.:]{2,39}(/[0-9]{1,3})?")
PIECES = ("2001:db8::", "fe80::1", "203.0.113.0", "::ffff:1.2.3.4", "%", "eth0", "/64", "/24", "\n", " ", ";", "\0")


def readers() -> Sequence[Callable[[str], Sequence[str]]]:
    """Each gives what it has made of a text that it has taken; ValueError or InvalidInput for another."""
    clients = networks(9)

    def by_file(text: str) -> Sequence[str]:
        read = clients([text])
        return read if isinstance(read, tuple) else ()

    return (
        lambda text: [str(ip.address(text))],
        lambda text: [str(ip.network(text, strict=False))],
        lambda text: [check_vip(text, "10.90.0.0/16")],
        lambda text: [address_of(text)],
        by_file,
    )


@pytest.mark.parametrize("read", readers())
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join) | st.text(max_size=20))
@example("2001:db8::%a\n    bind :1\n/64")
@example("2001:db8::1%a\nb")
def test_what_is_taken_is_nothing_but_an_address(read: Callable[[str], Sequence[str]], text: str) -> None:
    try:
        made = read(text)
    except (ValueError, InvalidInput):
        return
    assert all(PLAIN.fullmatch(one) for one in made), made


MORE = ({"allow": ("2001:db8::%a\n    bind :1\n/64",)}, {"vip": "2001:db8::1%a\n    bind :1"})


@pytest.mark.parametrize("changed", MORE, ids=str)
def test_no_balancer_writes_what_is_more_than_an_address(changed: dict[str, Any]) -> None:
    """Whatever a record says: a line of a configuration is ours alone."""
    end = Frontend(pool=PoolName("a.b.c"), vip="2001:db8::1", port=80, mode=Mode.TCP, probe=None)
    place = Place(pool=end.pool, address="fd00::10", port=80)

    def by_haproxy(one: Frontend) -> str:
        return haproxy_config.render(Shape((one,)), Path("/run/x"), Surroundings())

    def by_nft(one: Frontend) -> str:
        return transaction(pools([one], [place], [place], family=IPV6), Names())

    for write in (by_haproxy, by_nft):
        assert "2001:db8::1" in write(end)
        with pytest.raises(ValueError, match="is of one interface"):
            write(dataclasses.replace(end, **changed))
