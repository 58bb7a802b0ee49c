"""Which addresses are refused by lists of networks and exceptions."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.drivers.network.egress import LINK_LOCAL, denied, is_denied
from orchestrator.host.config import EGRESS_DENY


@pytest.mark.parametrize(
    ("deny", "allow", "refused"),
    [
        ((), (), [LINK_LOCAL]),
        (("10.0.0.0/8",), (), ["10.0.0.0/8", LINK_LOCAL]),
        (("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"), (), ["10.0.0.0/7", LINK_LOCAL]),
        (("10.0.0.0/8",), ("10.0.0.0/8",), [LINK_LOCAL]),
        (("10.0.0.0/8",), ("10.128.0.0/9",), ["10.0.0.0/9", LINK_LOCAL]),
        (("10.0.0.0/8", "10.128.3.0/24"), ("10.128.0.0/9",), ["10.0.0.0/9", "10.128.3.0/24", LINK_LOCAL]),
        (("10.0.0.0/8",), ("0.0.0.0/0",), ["10.0.0.0/8", LINK_LOCAL]),
        ((), (LINK_LOCAL,), []),
        ((), ("169.254.128.0/17",), ["169.254.0.0/17"]),
    ],
)
def test_the_longest_prefix_decides(deny: tuple[str, ...], allow: tuple[str, ...], refused: list[str]) -> None:
    """An exception, a part of it that is denied, and of two that are alike the exception."""
    assert list(denied(deny, allow)) == refused


_NETWORKS = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
        lambda drawn: str(IPv4Network((drawn[0] >> (32 - drawn[1]) << (32 - drawn[1]), drawn[1])))
    ),
    max_size=6,
)


@settings(deadline=None)  # Others have the processors, too.
@given(deny=_NETWORKS, allow=_NETWORKS, address=st.integers(0, 2**32 - 1))
def test_any_lists_do_as_they_say(deny: list[str], allow: list[str], address: int) -> None:
    """The networks lie apart, and an address is in one of them when the longest that holds it is no exception."""
    refused = [IPv4Network(one) for one in denied(deny, allow)]
    assert not any(one.overlaps(other) for one in refused for other in refused if one is not other)
    for place in (ipaddress.IPv4Address(address), *(IPv4Network(one)[0] for one in (*deny, *allow))):
        holding = [(IPv4Network(one).prefixlen, 0) for one in (*deny, LINK_LOCAL) if place in IPv4Network(one)]
        holding += [(IPv4Network(one).prefixlen, 1) for one in allow if place in IPv4Network(one)]
        expected = bool(holding) and max(holding)[1] == 0
        assert any(place in one for one in refused) == expected, place


def test_what_is_refused_unless_the_owner_says_otherwise() -> None:
    """What is private, a cloud's metadata, and nothing of the Internet."""
    refused = denied(EGRESS_DENY, ())
    for one in ("10.1.2.3", "172.31.255.255", "192.168.77.2", "100.100.100.200", "169.254.169.254", "168.63.129.16"):
        assert is_denied(IPv4Network(one), refused), one
    for one in ("8.8.8.8", "172.32.0.1", "192.169.0.1", "100.128.0.1", "203.0.113.1", "151.101.2.132"):
        assert not is_denied(IPv4Network(one), refused), one
    assert not is_denied(IPv4Network("0.0.0.0/0"), refused)
