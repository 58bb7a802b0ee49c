"""A swap, there and back, with trouble at every call: clients see one of the two states, and no VIP is nobody's."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from orchestrator.errors import Unreachable
from orchestrator.model import Phase, ServiceSpec, Slot
from tests.trouble.struck_requests import StruckRequests
from tests.world.fabric import Died, Trouble, die, hang_up, web_role

VIP, STAGING_VIP = "203.0.113.10", "203.0.113.11"
FIRST, SECOND = "shop.web.http", "shop--b.web.http"
BEFORE, AFTER = {VIP: FIRST, STAGING_VIP: SECOND}, {VIP: SECOND, STAGING_VIP: FIRST}


class Swapped(StruckRequests):
    """Two deployments, and clients who look at the front after every call."""

    def __init__(self, trouble: Trouble) -> None:
        self.seen: list[dict[str, str]] = []
        super().__init__(Trouble())
        shop = ServiceSpec(name="shop", vip=VIP, staging_vip=STAGING_VIP, roles=(web_role(instances=1),))
        for slot in Slot:
            self.control.apply_spec(shop, slot=slot)
        self.until(self.quiet)
        self.seen = [self.faced()]
        self.trouble.at, self.trouble.after, self.trouble.strike = trouble.at, trouble.after, trouble.strike
        self.trouble.calls, self.trouble.verbs = 0, []

    def faced(self) -> dict[str, str]:
        """Which pool each VIP leads to; one that is not on the host leads nowhere."""
        return {one.vip: str(one.pool) for one in self.world.frontends if one.vip in self.world.vips}

    def round(self, seconds: float = 0.8) -> None:
        """As ever, in each of which the services are looked at as well."""
        self._rounds = 0
        super().round(seconds)
        self.seen.append(self.faced())

    def swap(self) -> None:
        """Asks until it is answered, which a client does who looks before he asks again."""
        staging = self.control.service("shop@staging").name
        for _ in range(3):
            try:
                self.control.swap("shop")
            except (Died, Unreachable):
                if self.control.service("shop").name == staging:
                    return
            else:
                return
        raise AssertionError("it is never answered")


def there_and_back(fabric: Swapped) -> None:
    """Two swaps; in between and in the end all that clients see is whole."""
    for wanted in (AFTER, BEFORE):
        fabric.swap()
        fabric.until(lambda wanted=wanted: fabric.faced() == wanted and fabric.quiet())
        for _ in range(3):
            fabric.round()
        assert fabric.faced() == wanted
    assert all(one in (BEFORE, AFTER) for one in fabric.seen), "clients saw something that is neither"
    assert fabric.world.vips_taken_off == []
    assert {(one.phase, one.generation, one.boot) for one in fabric.instances()} == {(Phase.SERVING, 1, 2)}


@functools.cache
def calls() -> tuple[str, ...]:
    """The verbs with an effect, without trouble."""
    fabric = Swapped(Trouble())
    there_and_back(fabric)
    return tuple(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("strike", [die, hang_up], ids=["dies", "hangs up"])
def test_one_of_the_two_states_whatever_strikes(after: bool, strike: Callable[[], None]) -> None:
    """At every call with an effect of both swaps and of the turns that follow."""
    assert {"lay", "hold", "shape"} <= set(calls())
    for at in range(1, len(calls()) + 1):
        fabric = Swapped(Trouble(at, after, strike))
        there_and_back(fabric)
        assert fabric.trouble.calls >= at, f"call {at} ({calls()[at - 1]}) was not struck"
