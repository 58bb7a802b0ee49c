"""Which pool each place of clients leads to: a map of HAProxy's, which its socket changes at once, and all together.

Two deployments that exchange their VIPs are changed by nothing else. Whom a connection leads to is looked up when it
is begun, and so what is open stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from orchestrator.drivers.balancer.desired import Shape
from orchestrator.model import Frontend, ip

FILE: Final = "leads.map"  # beside the configuration


def place(frontend: Frontend) -> str:
    """What names a frontend section, and stands in the map: the same whichever pool it leads to."""
    return f"to.{ip.address(frontend.vip)}:{frontend.port}"


def leads(shape: Shape) -> dict[str, str]:
    """The pool of each place that has one."""
    return {at: one.pool for at, one in _reached(shape).items()}


def text(leading: Mapping[str, str]) -> str:
    """The map as HAProxy reads it."""
    return "".join(f"{key} {pool}\n" for key, pool in sorted(leading.items()))


def exchanged(before: Shape, after: Shape) -> dict[str, str]:
    """What the places of `before` lead to when all that both have is as in `after`; {} when nothing of it differs.

    Until its own section comes, a place goes on to say of clients what it said: so both must say the same of who may
    come, and how. Which ports there are is a matter of sections.
    """
    pools, there = {one.pool for one in before.frontends}, _reached(before)
    moved = {
        at: str(one.pool)
        for at, one in _reached(after).items()
        if at in there and one.pool in pools and one.pool != there[at].pool and _met(one) == _met(there[at])
    }
    return leads(before) | moved if moved else {}


def _reached(shape: Shape) -> dict[str, Frontend]:
    return {place(one): one for one in shape.frontends if one.vip and one.redirect_to is None}


def _met(one: Frontend) -> tuple[object, ...]:
    """What a client meets of an endpoint before it is known whom it leads to."""
    return one.mode, one.range, one.allow, bool(one.certificates)


def are_alike(before: Sequence[Frontend], after: Sequence[Frontend]) -> bool:
    """Whether these are the same pools, wherever clients reach them."""

    def nowhere(frontends: Sequence[Frontend]) -> Mapping[str, Frontend]:
        return {one.pool: replace(one, vip="") for one in frontends if one.redirect_to is None}

    return nowhere(before) == nowhere(after)


class Last:
    """What is left to do of a change, and is done once, when it is called."""

    def __init__(self) -> None:
        self.act: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Nothing, when there is nothing left."""
        if self.act is not None:
            self.act()
            self.act = None
