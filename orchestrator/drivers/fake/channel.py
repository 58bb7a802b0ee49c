"""The runtime channel of the fake world."""

from __future__ import annotations

from orchestrator.drivers.fake.world import World
from orchestrator.model import InstanceName, Parting, Word


class FakeChannel:
    """See ports.Channel. What guests say, a test says with `World.say`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def word(self, name: InstanceName) -> Word | None:
        """See ports.Channel."""
        return self._world.words.get(name)

    def parting(self, name: InstanceName) -> Parting | None:
        """See ports.Channel."""
        return self._world.partings.get(name)

    def taken(self, name: InstanceName, word: Word) -> None:
        """See ports.Channel."""
        if self._world.words.get(name) == word:
            self._world.unanswered.discard(name)
