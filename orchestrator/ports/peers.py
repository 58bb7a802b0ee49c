"""Who tells a guest of the others of its deployment, and of its own end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.model import InstanceName


class Peers(Protocol):
    """What guests may know of each other, as JSON has it. Called from several threads."""

    def changes(self, name: InstanceName, after: int, past: str = "") -> Mapping[str, object] | None:
        """What that guest's peers have become since the answer with the number `after`: `number`, `peers` (name,
        role, address, state) and the names of those that are `gone`; None: nothing is recorded of that instance.

        `whole`: of what was before nothing is known, and these are all there are, in order of their names and behind
        the name `past`. `more`: these are not all; ask on with that number, or behind the last name.
        """

    def news(self, told: Mapping[InstanceName, int]) -> Mapping[InstanceName, Mapping[str, object]]:
        """The same for many, each with the number of its last answer; who has nothing to learn is left out."""

    def stopping(self, name: InstanceName) -> Mapping[str, object] | None:
        """Why that guest's VM is about to be restarted or stopped, `why`, and how long the guest may take until it
        lets go, `within_s`; None: it is not, or nothing is recorded of it.
        """

    def wait(self, after: int, timeout_s: float) -> int:
        """Blocks until something is recorded after that number, or the time is over; returns the number now."""
