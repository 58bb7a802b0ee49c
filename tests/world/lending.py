"""Clients of leases in the fake world, and what must hold of what they have, whatever happens meanwhile."""

from __future__ import annotations

import contextlib

from orchestrator.errors import NotFound, Unreachable
from orchestrator.model import Instance, Lease
from tests.world.fabric import Fabric


class Clients:
    """Everybody who has asked. `look` after each round: two never have one VM, and no VM serves that one has had."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self.theirs: dict[str, tuple[str, int]] = {}  # by lease: the instance and the generation that was given
        self.order: list[str] = []  # leases as they were given

    def ask(self, for_s: float = 3600.0) -> Lease:
        """One more of them."""
        return self._fabric.control.lend("shop", for_s=for_s)

    def attend(self, *leases: Lease) -> list[Lease]:
        """They are there; those of them that have not ended."""
        found = []
        for one in leases:
            with contextlib.suppress(NotFound):
                found.append(self._fabric.control.attend(one.id))
        return found

    def end(self, lease: Lease) -> None:
        """It is given back, unless it has ended."""
        with contextlib.suppress(NotFound):
            try:
                self._fabric.control.end_lease(lease.id)
            except Unreachable:  # As a client does that got no answer.
                self._fabric.control.end_lease(lease.id)

    def look(self) -> None:
        """Raises AssertionError when somebody has what he may not have."""
        given = [one for one in self._fabric.present.all(Lease) if one.given]
        for lease in given:
            if lease.id not in self.theirs:
                generation = self._fabric.instance(lease.instance).generation
                assert (lease.instance, generation) not in self.theirs.values(), f"{lease.instance} is given twice"
                self.theirs[lease.id] = (lease.instance, generation)
                self.order.append(lease.id)
        had = set(self.theirs.values())
        for one in self._fabric.present.all(Instance):
            if (one.name, one.generation) in had:
                assert not one.serving, f"{one.name} serves as a client has left it"
                assert one.name not in self._fabric.world.seats_taken, f"{one.name} is in a pool, and a client's"

    def until(self, settled: object, *attending: Lease) -> None:
        """Rounds until that holds; those who attend say so all the while."""
        assert callable(settled)

        def now() -> bool:
            self.attend(*attending)
            self.look()
            return bool(settled())

        self._fabric.until(now)

    def until_given(self, lease: Lease, *others: Lease) -> Lease:
        """Until he has one."""
        self.until(lambda: all(one.given for one in self.attend(lease)), lease, *others)
        (given,) = self.attend(lease)
        return given
