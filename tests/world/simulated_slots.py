"""Slots and swaps in a simulated life: what must hold of them at every step, whatever strikes meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.model import Frontend, Service, Slot


class Swaps:
    """Looks at records and front after every step, and compares them with what they were before it."""

    def __init__(self) -> None:
        self.seen = 0  # swaps that the front has followed
        self._services: Sequence[Service] = ()
        self._meanwhile: list[Sequence[Service]] = []
        self._led: dict[str, set[str]] = {}
        self._seats: frozenset[str] = frozenset()

    def forget(self) -> None:
        """The host starts again: nobody is led anywhere."""
        self._led = {}

    def answered(self, services: Sequence[Service]) -> None:
        """After a request in the middle of a step: what has been asked for since may hide what it has left."""
        self._meanwhile.append(tuple(services))

    def check(self, services: Sequence[Service], frontends: Sequence[Frontend], seats: Collection[str]) -> None:
        """After a step; `seats` are the members that there are."""
        slots = [one.slot for one in services]
        assert len(set(slots)) == len(slots), f"two deployments are in {slots[0]}"
        led: dict[str, set[str]] = {}
        for one in frontends:
            if one.vip:
                led.setdefault(one.vip, set()).add(one.pool.split(".")[0])
        for vip, deployments in led.items():
            assert len(deployments) == 1, f"{vip} leads to both deployments"
        for vip, before in self._led.items():
            if vip not in led:
                assert not self._is_served(vip, services), f"{vip} leads nowhere in between"
            elif led[vip] != before:
                self.seen += vip == next((one.spec.vip for one in services), "")
                assert self._seats <= frozenset(seats), "a swap has taken members out"  # One may have joined.
        self._services, self._led, self._seats = tuple(services), led, frozenset(seats)
        self._meanwhile.clear()

    def _is_served(self, vip: str, services: Sequence[Service]) -> bool:
        """Whether an address has somebody to be led to, before the step, all through it, and after it."""

        def pooled(among: Sequence[Service]) -> set[str]:
            return {
                one.name
                for one in among
                if one.vip == vip and not one.removing and any(role.endpoints for role in one.spec.roles)
            }

        return all(map(pooled, (self._services, *self._meanwhile, services)))


def production_of(services: Sequence[Service]) -> str:
    """The deployment that is in production; "" while none is."""
    return next((one.name for one in services if one.slot is Slot.PRODUCTION), "")
