"""How a mark that a rule has written down is read."""

from __future__ import annotations

import sys

import pytest

from orchestrator.drivers.network.tables_given import order_of

_CARDS = (bytes.fromhex("00123456"), bytes.fromhex("00abcdef"))


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_cards_tell_which_byte_comes_first(order: str) -> None:
    """Whatever this release of nft makes of it: a card of ours has 0 there."""
    assert order_of(int.from_bytes(one, order) for one in _CARDS) == order  # type: ignore[arg-type]


@pytest.mark.parametrize("cards", [[], [0x00AAAA00], [0x12345678]])
def test_where_they_do_not_it_is_the_machine_s(cards: list[int]) -> None:
    """None that was heard, one that is the same turned round, or none of ours."""
    assert order_of(cards) == sys.byteorder
