"""Whose a VIP is in the firewall's set, while services come and go that share it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from orchestrator.drivers.network.shared_vips import owned
from orchestrator.drivers.network.tables import INET
from orchestrator.drivers.tools.nft import Key, change, changed

V, W = ("203.0.113.10",), ("203.0.113.11",)
SHOP80, BLOG81 = ((*V, "80"), "shop"), ((*V, "81"), "blog")


def after(
    now: dict[Key, str], ends: Iterable[tuple[Key, str]], wanted: Iterable[Key], owner: str
) -> tuple[dict[Key, str], int]:
    """The set when all is written, and how many commands that takes."""
    count = 0
    for whose, want in owned(now, ends, list(wanted), owner):
        count += len(change(INET, "vips", now, want, whose))
        now = changed(now, want, whose)
    return now, count


@pytest.mark.parametrize(
    ("now", "ends", "wanted", "owner", "then"),
    [
        pytest.param({}, [SHOP80], [V], "shop", {V: "shop"}, id="the first has it"),
        pytest.param({V: "shop"}, [SHOP80, BLOG81], [V], "blog", {V: "shop"}, id="who comes leaves it"),
        pytest.param({V: "shop"}, [BLOG81], [], "shop", {V: "blog"}, id="who goes hands it over"),
        pytest.param({V: "shop"}, [SHOP80, BLOG81], [], "shop", {V: "blog"}, id="though its endpoints are there yet"),
        pytest.param({V: "blog"}, [SHOP80, BLOG81], [], "shop", {V: "blog"}, id="who goes takes nothing of another"),
        pytest.param({V: "shop"}, [SHOP80], [], "shop", {}, id="the last takes it along"),
        pytest.param({V: "gone"}, [SHOP80], [V], "shop", {V: "shop"}, id="of who has no endpoint it is taken over"),
        pytest.param(
            {V: "shop", W: "blog"},
            [BLOG81, ((*W, "81"), "blog")],
            [],
            "shop",
            {V: "blog", W: "blog"},
            id="an heir keeps",
        ),
    ],
)
def test_whose_it_is(
    now: dict[Key, str], ends: list[tuple[Key, str]], wanted: list[Key], owner: str, then: dict[Key, str]
) -> None:
    """As long as anybody has an endpoint at it, it is somebody's; and writing it again changes nothing."""
    assert after(now, ends, wanted, owner)[0] == then
    left = [end for end in ends if wanted or end[1] != owner]
    assert after(then, left, wanted, owner) == (then, 0)
